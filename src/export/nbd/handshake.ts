/**
 * The handshake phase of one connection: fixed newstyle option haggling (spec/nbd.md, "Handshake").
 *
 * A machine over bytes that gathers exactly the bytes of its next step, so a stream cut anywhere is
 * the same to it. Invariants: nothing of an option is acted on before all of it is there and
 * decoded; after STARTTLS no earlier choice is remembered; where TLS is required nothing but
 * STARTTLS and ABORT has any effect before it.
 */
import {
  nbdOptionBytesMax,
  nbdOptionCountMax,
  nbdOptionSkipBytesMax,
  nbdPayloadBytesMax,
  nbdStringBytesMax,
  nbdUnsentBytesMax,
} from '../../lib/limits.ts';
import type { BlockDevice } from '../block-device.ts';
import * as format from './options-format.ts';
import { Info, Option, Reply, TransmissionFlag } from './options-format.ts';
import type { Negotiated } from './request-check.ts';
import { baseAllocationId } from './transmission.ts';

export type TlsMode = 'off' | 'allow' | 'require';

export interface NbdExport {
  readonly device: BlockDevice;
  readonly description?: string;
  /** Refuses every change through this export, whatever the device allows. */
  readonly readOnly?: boolean;
  /** Lets clients change the size by NBD_CMD_RESIZE (an experimental extension of the protocol). */
  readonly resizable?: boolean;
  /** Left out of the answer to NBD_OPT_LIST: only who was told the name finds it. */
  readonly isHidden?: boolean;
}

/** What the client chose. */
export interface Selection {
  readonly name: string;
  readonly chosen: NbdExport;
  readonly negotiated: Negotiated;
}

export interface HandshakeHost {
  send(bytes: Uint8Array): void;
  /** Bytes that were sent and that the client has not taken. */
  readonly unsentBytes: number;
  /** The ACK is sent: the next byte of either side belongs to TLS. */
  startTls(): void;
  /** The handshake is over; `rest` came after it. */
  begin(selection: Selection, rest: Uint8Array): void;
  /** Close in good order, as the client asked. */
  finish(): void;
  /** The client broke a rule that leaves no way to answer. */
  violate(reason: string): void;
}

export interface HandshakeOptions {
  readonly host: HandshakeHost;
  /** The export of that name, the default export for the empty one. */
  readonly find: (name: string) => { name: string; chosen: NbdExport } | undefined;
  readonly list: () => Iterable<readonly [string, NbdExport]>;
  readonly tls: TlsMode;
  /** The server is stopping: every option but ABORT is refused. */
  readonly stopping: () => boolean;
}

export const baseAllocationName = 'base:allocation';

export class Handshake {
  readonly #options: HandshakeOptions;
  readonly #host: HandshakeHost;
  #step: 'flags' | 'header' | 'data' | 'skip' | 'tls' | 'done' = 'flags';
  #gathered = new Uint8Array(64);
  #have = 0;
  #need = format.clientFlagsBytes;
  #skipLeft = 0;
  #option = 0;
  #optionCount = 0;
  #fixed = false;
  #padded = true;

  #secure = false;
  #structured = false;
  /** The export for which base:allocation was selected last. */
  #contextExport: string | undefined;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    this.#host = options.host;
  }

  greet(): void {
    this.#host.send(format.GREETING);
  }

  /** TLS is up: haggling starts again, with nothing remembered. */
  secured(): void {
    this.#secure = true;
    this.#structured = false;
    this.#contextExport = undefined;
    this.#expectHeader();
  }

  feed(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && this.#step !== 'done') {
      if (this.#step === 'tls') {
        this.#violate('bytes were sent in the clear after STARTTLS');
        return;
      }
      if (this.#step === 'skip') {
        const skipped = Math.min(this.#skipLeft, bytes.length - at);
        at += skipped;
        this.#skipLeft -= skipped;
        if (this.#skipLeft === 0) this.#tooBig();
        continue;
      }
      const taken = Math.min(this.#need - this.#have, bytes.length - at);
      this.#gather(bytes.subarray(at, at + taken));
      at += taken;
      if (this.#have === this.#need) this.#advance(bytes.subarray(at));
    }
  }

  #gather(bytes: Uint8Array): void {
    if (this.#gathered.length < this.#need) {
      const larger = new Uint8Array(this.#need);
      larger.set(this.#gathered.subarray(0, this.#have));
      this.#gathered = larger;
    }
    this.#gathered.set(bytes, this.#have);
    this.#have += bytes.length;
  }

  #advance(rest: Uint8Array): void {
    const data = this.#gathered.subarray(0, this.#need);
    if (this.#step === 'flags') this.#takeFlags(data);
    else if (this.#step === 'header') this.#takeHeader(data, rest);
    else this.#takeOption(data, rest);
  }

  #takeFlags(data: Uint8Array): void {
    const flags = ((data[0]! << 24) | (data[1]! << 16) | (data[2]! << 8) | data[3]!) >>> 0;
    const known = format.ClientFlag.FIXED_NEWSTYLE | format.ClientFlag.NO_ZEROES;
    if ((flags & ~known) !== 0) {
      this.#violate('the client set handshake flags that nobody offered');
      return;
    }
    this.#fixed = (flags & format.ClientFlag.FIXED_NEWSTYLE) !== 0;
    this.#padded = (flags & format.ClientFlag.NO_ZEROES) === 0;
    this.#expectHeader();
  }

  #takeHeader(data: Uint8Array, rest: Uint8Array): void {
    const header = format.decodeOptionHeader(data, 0);
    if (header === undefined) {
      this.#violate('an option starts with the wrong magic number');
      return;
    }
    this.#optionCount += 1;
    if (this.#optionCount > nbdOptionCountMax) {
      this.#violate(`more than ${nbdOptionCountMax} options in one handshake`);
      return;
    }
    if (this.#host.unsentBytes > nbdUnsentBytesMax) {
      this.#violate('the client asks on and on and does not take the answers');
      return;
    }
    this.#option = header.option;
    if (header.length > nbdOptionBytesMax) {
      if (header.length > nbdOptionSkipBytesMax || header.option === Option.EXPORT_NAME) {
        this.#violate(`an option of ${header.length} bytes`);
        return;
      }
      this.#step = 'skip';
      this.#skipLeft = header.length;
      return;
    }
    this.#step = 'data';
    this.#need = header.length;
    this.#have = 0;
    if (header.length === 0) this.#takeOption(data.subarray(0, 0), rest);
  }

  #expectHeader(): void {
    this.#step = 'header';
    this.#need = format.optionHeaderBytes;
    this.#have = 0;
  }

  #tooBig(): void {
    this.#expectHeader();
    this.#refuse(Reply.ERR_TOO_BIG, `an option may hold at most ${nbdOptionBytesMax} bytes`);
  }

  /** All of an option is here. Every path below answers once, or ends the handshake. */
  #takeOption(data: Uint8Array, rest: Uint8Array): void {
    this.#expectHeader();
    const option = this.#option;
    if (option === Option.EXPORT_NAME) {
      this.#exportName(data, rest);
      return;
    }
    if (!this.#fixed) {
      this.#violate('a client without fixed newstyle may only send EXPORT_NAME');
      return;
    }
    if (option === Option.ABORT) {
      this.#step = 'done';
      this.#acknowledge();
      this.#host.finish();
    } else if (this.#options.stopping()) {
      this.#refuse(Reply.ERR_SHUTDOWN, 'the server is shutting down');
    } else if (option === Option.STARTTLS) {
      this.#startTls(data);
    } else if (this.#options.tls === 'require' && !this.#secure) {
      this.#refuse(Reply.ERR_TLS_REQD, 'this server requires TLS: send STARTTLS first');
    } else {
      this.#plainOption(option, data, rest);
    }
  }

  #plainOption(option: number, data: Uint8Array, rest: Uint8Array): void {
    switch (option) {
      case Option.LIST:
        return this.#list(data);
      case Option.INFO:
      case Option.GO:
        return this.#info(data, rest);
      case Option.STRUCTURED_REPLY:
        return this.#structuredReply(data);
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        return this.#metaContext(data);
      default:
        return this.#refuse(Reply.ERR_UNSUP, 'this server does not know the option');
    }
  }

  /** EXPORT_NAME cannot be answered with an error: whatever is wrong ends the connection. */
  #exportName(data: Uint8Array, rest: Uint8Array): void {
    if (this.#options.tls === 'require' && !this.#secure) {
      this.#violate('EXPORT_NAME without TLS where TLS is required');
      return;
    }
    const name = format.decodeString(data, nbdStringBytesMax);
    const found = name === undefined || this.#options.stopping() ? undefined : this.#options.find(name);
    if (found === undefined) {
      this.#violate('EXPORT_NAME asks for an export that is not served');
      return;
    }
    this.#host.send(format.encodeExportName(found.chosen.device.size, this.#flagsOf(found.chosen), this.#padded));
    this.#begin(found, rest);
  }

  #startTls(data: Uint8Array): void {
    if (data.length > 0 || this.#secure) {
      this.#refuse(Reply.ERR_INVALID, this.#secure ? 'TLS is already in use' : 'STARTTLS takes no data');
      return;
    }
    if (this.#options.tls === 'off') {
      this.#refuse(Reply.ERR_POLICY, 'this server is configured without TLS');
      return;
    }
    this.#step = 'tls';
    this.#acknowledge();
    this.#host.startTls();
  }

  #list(data: Uint8Array): void {
    if (data.length > 0) {
      this.#refuse(Reply.ERR_INVALID, 'LIST takes no data');
      return;
    }
    for (const [name, { description, isHidden }] of this.#options.list()) {
      if (isHidden === true) continue;
      this.#reply(Reply.SERVER, format.encodeServer(name, description ?? ''));
    }
    this.#acknowledge();
  }

  #structuredReply(data: Uint8Array): void {
    if (data.length > 0) {
      this.#refuse(Reply.ERR_INVALID, 'STRUCTURED_REPLY takes no data');
      return;
    }
    this.#structured = true;
    this.#acknowledge();
  }

  #info(data: Uint8Array, rest: Uint8Array): void {
    const request = format.decodeInfoRequest(data, nbdStringBytesMax);
    if (request === undefined) {
      this.#refuse(Reply.ERR_INVALID, 'the option is not a name and a list of kinds of information');
      return;
    }
    const found = this.#options.find(request.name);
    if (found === undefined) {
      this.#refuse(Reply.ERR_UNKNOWN, 'no export of that name is served');
      return;
    }
    const { device, description } = found.chosen;
    this.#reply(Reply.INFO, format.encodeInfoExport(device.size, this.#flagsOf(found.chosen)));
    for (const info of request.infos) {
      if (info === Info.NAME) this.#reply(Reply.INFO, format.encodeInfoText(Info.NAME, found.name));
      if (info === Info.DESCRIPTION && description !== undefined) {
        this.#reply(Reply.INFO, format.encodeInfoText(Info.DESCRIPTION, description));
      }
      if (info === Info.BLOCK_SIZE) {
        this.#reply(Reply.INFO, format.encodeInfoBlockSize(1, device.blockSize, nbdPayloadBytesMax));
      }
    }
    this.#acknowledge();
    if (this.#option === Option.GO) this.#begin(found, rest);
  }

  /** base:allocation is the only context; "base:" stands for all of its namespace in a listing. */
  #metaContext(data: Uint8Array): void {
    const listing = this.#option === Option.LIST_META_CONTEXT;
    // A SET that fails leaves nothing selected (proto.md, NBD_OPT_SET_META_CONTEXT).
    if (!listing) this.#contextExport = undefined;
    const request = format.decodeMetaContextRequest(data, nbdStringBytesMax);
    if (request === undefined || !this.#structured) {
      const problem =
        request === undefined ? 'the option is not a name and a list of queries' : 'structured replies come first';
      this.#refuse(Reply.ERR_INVALID, problem);
      return;
    }
    const found = this.#options.find(request.name);
    if (found === undefined) {
      this.#refuse(Reply.ERR_UNKNOWN, 'no export of that name is served');
      return;
    }
    const wanted = listing
      ? request.queries.length === 0 ||
        request.queries.some((query) => query === baseAllocationName || query === 'base:')
      : request.queries.includes(baseAllocationName);
    if (wanted) {
      this.#reply(Reply.META_CONTEXT, format.encodeMetaContext(listing ? 0 : baseAllocationId, baseAllocationName));
      if (!listing) this.#contextExport = found.name;
    }
    this.#acknowledge();
  }

  #begin(found: { name: string; chosen: NbdExport }, rest: Uint8Array): void {
    this.#step = 'done';
    const negotiated: Negotiated = {
      structuredReplies: this.#structured,
      baseAllocation: this.#structured && this.#contextExport === found.name,
      readOnly: isReadOnly(found.chosen),
      resizable: found.chosen.resizable === true,
    };
    this.#host.begin({ name: found.name, chosen: found.chosen, negotiated }, rest);
  }

  #flagsOf(chosen: NbdExport): number {
    let flags =
      TransmissionFlag.HAS_FLAGS |
      TransmissionFlag.SEND_FLUSH |
      TransmissionFlag.SEND_FUA |
      TransmissionFlag.SEND_TRIM |
      TransmissionFlag.SEND_WRITE_ZEROES |
      TransmissionFlag.SEND_FAST_ZERO |
      TransmissionFlag.SEND_CACHE |
      TransmissionFlag.CAN_MULTI_CONN;
    if (this.#structured) flags |= TransmissionFlag.SEND_DF;
    if (isReadOnly(chosen)) flags |= TransmissionFlag.READ_ONLY;
    if (chosen.resizable === true) flags |= TransmissionFlag.SEND_RESIZE;
    return flags;
  }

  #reply(type: number, data: Uint8Array): void {
    this.#host.send(format.encodeReply(this.#option, type, data));
  }

  #acknowledge(): void {
    this.#host.send(format.encodeReply(this.#option, Reply.ACK));
  }

  #refuse(type: number, message: string): void {
    this.#host.send(format.encodeErrorReply(this.#option, type, message));
  }

  #violate(reason: string): void {
    this.#step = 'done';
    this.#host.violate(reason);
  }
}

export function isReadOnly(chosen: NbdExport): boolean {
  return chosen.readOnly === true || chosen.device.readOnly;
}
