// The players of a result: one plays at a time, the video follows, and the mix adds all parts up.

const MOST_MIX_BYTES = 400e6; // of decoded samples in this browser
export const MUTED_DB = -60;
const factor = (db) => (db <= MUTED_DB ? 0 : 10 ** (db / 20));

// Takes over from the player that runs, at the same moment of the recording.
export class Players {
  constructor() {
    this.all = [];
    this.current = null;
  }

  add(audio, onMoment) {
    this.all.push(audio);
    audio.addEventListener("play", () => {
      const before = this.current;
      if (before && before !== audio && !before.paused) {
        audio.currentTime = before.currentTime;
        before.pause();
      }
      this.current = audio;
      const tick = () => {
        onMoment(audio.currentTime / (audio.duration || 1));
        if (!audio.paused) requestAnimationFrame(tick);
      };
      tick();
    });
    audio.addEventListener("seeked", () => onMoment(audio.currentTime / (audio.duration || 1)));
  }

  pauseAll() {
    for (const audio of this.all) audio.pause();
  }

  clear() {
    this.pauseAll();
    this.all = [];
    this.current = null;
  }
}

// All parts at once through one clock, each with a gain that may change while it plays.
export class Mix {
  constructor(addresses, seconds, channels) {
    this.addresses = addresses;
    this.tooLong = addresses.length * seconds * channels * 48000 * 4 > MOST_MIX_BYTES;
    this.gains = addresses.map(() => 0);
    this.nodes = [];
    this.sources = [];
  }

  setGain(number, db) {
    this.gains[number] = db;
    this.nodes[number]?.gain.setTargetAtTime(factor(db), this.context.currentTime, 0.01);
  }

  async play(onEnd) {
    this.context ??= new AudioContext();
    this.buffers ??= await Promise.all(this.addresses.map(async (address) =>
      this.context.decodeAudioData(await (await fetch(address)).arrayBuffer())));
    await this.context.resume();
    const when = this.context.currentTime + 0.05;
    this.nodes = this.buffers.map((_, number) => {
      const gain = this.context.createGain();
      gain.gain.value = factor(this.gains[number]);
      gain.connect(this.context.destination);
      return gain;
    });
    this.sources = this.buffers.map((buffer, number) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.nodes[number]);
      source.start(when);
      return source;
    });
    this.sources[0].onended = onEnd;
  }

  stop() {
    for (const source of this.sources) {
      source.onended = null;
      source.stop();
    }
    for (const node of this.nodes) node.disconnect();
    this.sources = [];
    this.nodes = [];
  }

  async close() {
    this.stop();
    await this.context?.close();
  }
}
