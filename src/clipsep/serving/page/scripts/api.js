// Talks to the server; knows nothing of the page.

export const limits = { upload_bytes: Infinity, queries: 8, query_characters: 200 }; // until the server says its own

export class Problem extends Error {
  constructor(status, sentence, retrySeconds) {
    super(sentence);
    this.status = status;
    this.retrySeconds = retrySeconds;
  }
}

export async function getJson(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Problem(0, "The server does not answer: is it still running?");
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, body.detail || `The server answered ${answer.status}.`);
  }
  return answer.status === 204 ? null : answer.json();
}

// fetch cannot tell how much was sent; `signal` stops the upload.
export function upload(address, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) resolve(request.response);
      else {
        const sentence = request.response?.detail || `The server answered ${request.status}.`;
        reject(new Problem(request.status, sentence, Number(request.getResponseHeader("retry-after"))));
      }
    };
    request.onerror = () => reject(new Problem(0, "The server hung up, or does not answer."));
    request.onabort = () => reject(new DOMException("", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
