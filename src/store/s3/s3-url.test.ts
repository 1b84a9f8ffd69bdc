import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isCaissonError } from '../../lib/errors.ts';
import { parseS3Url, placeName, serverOf } from './s3-url.ts';

function refused(rest: string, environment: Record<string, string> = {}): string {
  try {
    parseS3Url(rest, environment);
  } catch (error) {
    assert.ok(isCaissonError(error, 'argument-invalid'), String(error));
    assert.notEqual(error.remedy, undefined);
    return `${error.message} ${error.remedy}`;
  }
  assert.fail(`accepted: ${rest}`);
}

describe('s3 url', () => {
  it('names AWS by region: the bucket becomes a host, unless its name has a dot', () => {
    const location = parseS3Url('//my-bucket/a/b?region=eu-central-1', {});
    assert.equal(location.prefix, 'a/b/');
    assert.equal(serverOf(location).href, 'https://my-bucket.s3.eu-central-1.amazonaws.com/');
    assert.equal(location.url, 's3://my-bucket/a/b?region=eu-central-1');
    const dotted = parseS3Url('//my.bucket', { AWS_REGION: 'eu-central-1' });
    assert.equal(serverOf(dotted).href, 'https://s3.eu-central-1.amazonaws.com/');
    assert.equal(dotted.prefix, '');
  });

  it('takes another server by its endpoint, with the bucket in the path', () => {
    const location = parseS3Url('//bucket/?endpoint=http://127.0.0.1:9000', {});
    assert.deepEqual([location.pathStyle, location.region, location.prefix], [true, 'us-east-1', '']);
    assert.equal(parseS3Url('//bucket?endpoint=https://h&pathStyle=false', {}).pathStyle, false);
  });

  it('writes out what the environment decided, so that the name leads to the same place from anywhere', () => {
    const there = { AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL_S3: 'https://storage.example:8443' };
    const { url } = parseS3Url('//bucket/p/', there);
    assert.equal(url, 's3://bucket/p?endpoint=https://storage.example:8443&region=eu-west-1');
    const again = parseS3Url(url.substring(3), {});
    assert.equal(again.url, url);
    assert.equal(placeName(again), placeName(parseS3Url('//bucket/p', there)));
    assert.notEqual(placeName(again), placeName(parseS3Url('//bucket/q', there)));
  });

  it('refuses what it does not understand', () => {
    const environment = { AWS_REGION: 'x' };
    for (const rest of [
      'bucket',
      '//',
      '//B',
      '//a_b',
      '//a..b',
      '//bucket/a//b',
      '//bucket/../b',
      '//bucket/a b',
      '//bucket/%2e',
      '//bucket?what=1',
      '//bucket?region=',
      '//bucket?region=A B',
      '//bucket?region=a&region=b',
      '//bucket?pathStyle=yes',
      '//bucket?endpoint=ftp://x',
      '//bucket?endpoint=https://user:pw@x',
      '//bucket?endpoint=https://x/path',
      '//bucket?ca=relative.pem',
      '//bucket#x',
    ])
      refused(rest, environment);
    assert.match(refused('//bucket'), /region/);
  });

  it('takes no secret in a URL, and says where it belongs', () => {
    for (const rest of [
      '//AK:SK@bucket/p?region=a',
      '//bucket?region=a&secretAccessKey=x',
      '//bucket?region=a&token=x',
    ])
      assert.match(refused(rest), /AWS_ACCESS_KEY_ID/);
  });
});
