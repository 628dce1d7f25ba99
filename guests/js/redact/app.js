// Hides e-mail and IPv4 addresses in the text on stdin. The first argument is what stands in their place.
import { getArguments } from 'wasi:cli/environment@0.2.12';
import { getStdin } from 'wasi:cli/stdin@0.2.12';
import { getStdout } from 'wasi:cli/stdout@0.2.12';
import { getStderr } from 'wasi:cli/stderr@0.2.12';

const PATTERNS = { mail: /[\w.+-]+@[\w-]+\.[\w.-]*\w/g, address: /\b(?:\d{1,3}\.){3}\d{1,3}\b/g };

export const run = {
  run() {
    const mask = getArguments()[1] ?? '[hidden]';
    const counts = {};
    let text = decode(readAll(getStdin()));
    for (const [kind, pattern] of Object.entries(PATTERNS)) {
      text = text.replace(pattern, () => {
        counts[kind] = (counts[kind] ?? 0) + 1;
        return mask;
      });
    }
    write(getStdout(), text);
    write(getStderr(), `redact: ${JSON.stringify(counts)}\n`);
  },
};

function readAll(stream) {
  const bytes = [];
  try {
    for (;;) {
      for (const byte of stream.blockingRead(65536)) bytes.push(byte);
    }
  } catch (error) {
    const end = error.payload?.tag === 'closed';
    if (!end) throw error;
  }
  return bytes;
}

function write(stream, text) {
  const bytes = encode(text);
  for (let at = 0; at < bytes.length; at += 4096) {
    stream.blockingWriteAndFlush(bytes.subarray(at, at + 4096));
  }
}

// The engine has no TextDecoder and no TextEncoder.
function decode(bytes) {
  let escaped = '';
  for (const byte of bytes) escaped += '%' + byte.toString(16).padStart(2, '0');
  return decodeURIComponent(escaped);
}

function encode(text) {
  const escaped = encodeURIComponent(text);
  const bytes = [];
  for (let at = 0; at < escaped.length; at += 1) {
    if (escaped[at] === '%') {
      bytes.push(parseInt(escaped.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(escaped.charCodeAt(at));
    }
  }
  return Uint8Array.from(bytes);
}
