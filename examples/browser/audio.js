// Sound files in this browser: decoding at the file's own rate, and WAV for players and downloads.

// The rate in the header of a WAV, FLAC or Ogg file; 48 kHz where it is not found.
export function rateOf(buffer) {
  const view = new DataView(buffer), word = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  try {
    if (word(0) === "RIFF") return view.getUint32(24, true);
    if (word(0) === "fLaC") return (view.getUint32(18) >>> 12) || 48000;
    if (word(0) === "OggS" && word(29) === "vorb") return view.getUint32(40, true);
  } catch { /* too short: not such a file */ }
  return 48000;
}

// Channels as Float32Arrays, and the rate in Hz; nothing is resampled where the rate is in the header.
export async function decode(file) {
  const buffer = await file.arrayBuffer();
  const known = rateOf(buffer), rate = known >= 8000 && known <= 96000 ? known : 48000;
  const context = new OfflineAudioContext(1, 1, rate);
  const audio = await context.decodeAudioData(buffer);
  return { rate, channels: Array.from({ length: audio.numberOfChannels }, (_, one) => audio.getChannelData(one).slice()) };
}

// A WAV file of 32-bit floats.
export function wav(channels, rate) {
  const frames = channels[0].length, width = 4 * channels.length, bytes = frames * width;
  const view = new DataView(new ArrayBuffer(44 + bytes));
  const text = (at, word) => [...word].forEach((one, i) => view.setUint8(at + i, one.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 3, true); view.setUint16(22, channels.length, true); view.setUint32(24, rate, true);
  view.setUint32(28, rate * width, true); view.setUint16(32, width, true); view.setUint16(34, 32, true);
  text(36, "data"); view.setUint32(40, bytes, true);
  for (let i = 0, at = 44; i < frames; i++) for (const channel of channels) { view.setFloat32(at, channel[i], true); at += 4; }
  return new Blob([view], { type: "audio/wav" });
}
