// How likely a sound is there at all, from the logits of its mask: clipsep/separation/confidence.py.

const EVIDENT_SHARE = 0.1, LARGEST_LOGIT = 12, STEPS = 10;
export const sigmoid = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x);

// Probability that the sound is in one segment, by the model's calibration.
export function presence(logMagnitude, logits, score, { weights, offset }) {
  let top = -Infinity, lowest = Infinity;
  for (const one of logMagnitude) {
    top = Math.max(top, one);
    lowest = Math.min(lowest, one);
  }
  if (top === lowest) return 0; // digital silence
  let magnitudes = 0, powers = 0;
  for (const one of logMagnitude) {
    const magnitude = Math.exp(one - top);
    magnitudes += magnitude;
    powers += magnitude * magnitude;
  }
  const histogram = new Float64Array(2 * LARGEST_LOGIT * STEPS + 1);
  let overall = 0, share = 0, most = 0;
  for (let i = 0; i < logits.length; i++) {
    const magnitude = Math.exp(logMagnitude[i] - top), energy = (magnitude * magnitude) / powers;
    const logit = Math.min(LARGEST_LOGIT, Math.max(-LARGEST_LOGIT, logits[i]));
    const step = Math.floor((logit + LARGEST_LOGIT) * STEPS);
    histogram[step] += energy;
    most = Math.max(most, step);
    overall += (magnitude / magnitudes) * logit;
    share += energy * sigmoid(logit) ** 2;
  }
  let step = most, above = histogram[most];
  while (above < EVIDENT_SHARE && step > 0) above += histogram[--step];
  const evident = step / STEPS - LARGEST_LOGIT;
  const features = { evident, overall, share: Math.log(share + 1e-6), familiarity: score };
  return sigmoid(Object.entries(features).reduce((sum, [name, value]) => sum + (weights[name] ?? 0) * value, offset));
}
