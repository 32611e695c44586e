// The players of a result: one plays at a time, and the mix adds all parts up.

import { Problem } from "../api.js";

const MOST_MIX_BYTES = 400e6; // of decoded samples in this browser
export const MUTED_DB = -60;
const factor = (db) => (db <= MUTED_DB ? 0 : 10 ** (db / 20));

// A player takes over from one that runs, at the same moment of the recording. `own`: the players of the
// recording itself. `isFollower` says of a player whether a video plays along with it.
export class Players {
  constructor(own, isFollower) {
    this.all = [];
    this.own = own;
    this.isFollower = isFollower;
  }

  add(audio, onMoment) {
    this.all.push(audio);
    audio.addEventListener("play", () => {
      if (!this.isFollower(audio)) {
        const before = [...this.all, ...this.own].filter((one) => one !== audio && !one.paused);
        if (before.length) audio.currentTime = before[0].currentTime;
        for (const one of before) one.pause();
      }
      const tick = () => {
        onMoment(audio.currentTime / (audio.duration || 1));
        if (!audio.paused) requestAnimationFrame(tick);
      };
      tick();
    });
    audio.addEventListener("seeked", () => onMoment(audio.currentTime / (audio.duration || 1)));
  }

  // Of the recording too, but not `except`.
  pauseAll(...except) {
    for (const one of [...this.all, ...this.own]) if (!except.includes(one)) one.pause();
  }

  clear() {
    this.pauseAll();
    this.all = [];
  }
}

async function bytesOf(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Problem(answer.status, `The server answered ${answer.status}.`);
  return answer.arrayBuffer();
}

// All parts at once through one clock, each with a gain that may change while it plays.
export class Mix {
  constructor(addresses, seconds, channels) {
    this.addresses = addresses;
    this.tooLong = addresses.length * seconds * channels * 48000 * 4 > MOST_MIX_BYTES;
    this.gains = addresses.map(() => 0);
    this.nodes = [];
    this.sources = [];
    this.turn = 0; // grows with each start and stop
  }

  setGain(number, db) {
    this.gains[number] = db;
    this.nodes[number]?.gain.setTargetAtTime(factor(db), this.context.currentTime, 0.01);
  }

  async play(onEnd) {
    const turn = ++this.turn;
    this.context ??= new AudioContext();
    this.buffers ??= await Promise.all(this.addresses.map(async (address) =>
      this.context.decodeAudioData(await bytesOf(address))));
    await this.context.resume();
    if (turn !== this.turn) return; // stopped while it was decoded
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
    this.turn++;
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
