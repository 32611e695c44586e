// Fetches the files of a model and reads them.

// `onBytes` gets how many bytes are here, and how many there are (0 if the server does not say).
export async function fetched(address, onBytes = () => {}) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} is missing (${answer.status}).`);
  const total = Number(answer.headers.get("content-length")) || 0, pieces = [];
  let received = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    received += value.length;
    onBytes(received, total);
  }
  const all = new Uint8Array(received);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all.buffer;
}

export const json = (buffer) => JSON.parse(new TextDecoder().decode(buffer));

// A .safetensors file: tensors by name, each {shape, values}.
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  delete header.__metadata__;
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    const bytes = buffer.slice(8 + length + from, 8 + length + to);
    const read = { F16: halves, F32: (b) => new Float32Array(b), I32: (b) => new Int32Array(b), I8: (b) => new Int8Array(b) }[dtype];
    if (read) tensors[name] = { shape, values: read(bytes) };
  }
  return tensors;
}

function halves(bytes) {
  return Float32Array.from(new Uint16Array(bytes), (bits) => {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
