/** Who signed a TDX quote, and whether its module is one of Intel's (spec/attestation-intel.md, "TDX module"). */
import { moduleIdentity, moduleVersion } from '../intel/tcb-evaluation.ts';
import type { TcbInfo } from '../intel/tcb-info.ts';
import { verifyIntelQuote, type IntelVerification } from '../intel/verify.ts';
import type { Technology } from '../../../wire/evidence.ts';
import type { VerifyContext } from '../verifier.ts';
import { untrusted } from '../x509/certificates.ts';
import type { TdReport, TdxQuote } from './parse.ts';

/** `rootsOf`: whose extra roots count; evidence that carries a TDX quote inside names its own technology. */
export async function verifyTdxQuote(
  quote: TdxQuote,
  context: VerifyContext,
  rootsOf: Technology,
): Promise<IntelVerification> {
  const { report } = quote;
  return await verifyIntelQuote(quote, context, {
    technology: 'tdx',
    rootsOf,
    tdx: { launch: report.teeTcbSvn, current: report.extension?.teeTcbSvn2 },
    checkModule: (info) => checkModule(report, info),
  });
}

/** From version 1 on, a module has an identity of its own; before, `tdxModule` speaks of it. */
function checkModule(report: TdReport, info: TcbInfo): void {
  const version = moduleVersion(report.teeTcbSvn);
  const expected = version > 0 ? moduleIdentity(info, report.teeTcbSvn) : info.tdxModule;
  if (expected === undefined)
    throw untrusted('evidence', 'tdx-module-identity', `Intel's TCB info knows no TDX module of version ${version}`);
  if (Buffer.compare(report.mrSignerSeam, expected.mrSigner) !== 0)
    throw untrusted('evidence', 'tdx-module-signer', 'the TDX module is signed by somebody else than Intel says');
  const isRight = report.seamAttributes.every((byte, index) => byte === 0 && expected.attributes[index] === 0);
  if (!isRight)
    throw untrusted('evidence', 'tdx-module-attributes', 'the TDX module has attributes that it must not have');
}
