/** A short run, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './s3-answers.fuzz.ts';

test('changed answers of an S3 server: taken as they are meant, or refused by name', async () => {
  await fuzz(3, 40);
});
