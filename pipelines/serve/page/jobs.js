// Pictures on their way: asked for together, waited for, tried again where the service is busy, stopped.

import { key, make, Refused } from "./api.js";

const TRIES = 30; // of a service that is busy
const PREVIEWS = 3; // of a picture that is forming

export const jobs = { askKey: async () => false, previews: PREVIEWS };

/** Wait, and tell how many seconds are left; rejects where the signal aborts. */
function wait(seconds, told, signal) {
  return new Promise((resolve, reject) => {
    let left = Math.ceil(seconds);
    const stop = () => end(reject, new DOMException("stopped", "AbortError"));
    const timer = setInterval(() => ((left -= 1) > 0 ? told(left) : end(resolve)), 1000);
    const end = (settle, value) => {
      clearInterval(timer);
      signal.removeEventListener("abort", stop);
      settle(value);
    };
    signal.addEventListener("abort", stop);
    told(left);
  });
}

/**
 * Make `pictures`, which differ in their seeds alone: each has the next one. Each is an object with `seed`. What
 * becomes of it is written into it (`step`, `steps`, `preview`, `note`; `png`, `model`, ... once it is done) and told
 * by `changed`.
 */
export async function makeAll(pictures, fields, source, changed, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const asked = { ...fields, n: pictures.length, seed: pictures[0].seed, partial_images: jobs.previews };
      return await make(asked, source, (event) => hear(pictures[event.index ?? 0], event, changed), signal);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) {
        if (!(await jobs.askKey(key.get() ? "This key was refused." : ""))) throw error;
      } else {
        if (!error.again || attempt >= TRIES) throw error;
        const missing = pictures.filter((picture) => !picture.png);
        const told = (left) => {
          for (const picture of missing) {
            const why = error.type === "overloaded_error" ? "The model is starting again" : "The server is busy";
            picture.note = `${why}. Next try in ${left} s.`;
            changed(picture);
          }
        };
        await wait(error.again, told, signal);
        for (const picture of missing) delete picture.note;
        if (missing.length < pictures.length) {
          for (const picture of missing) await makeAll([picture], fields, source, changed, signal);
          return;
        }
      }
    }
  }
}

function hear(picture, event, changed) {
  if (!picture) return;
  delete picture.note;
  if (event.type.endsWith(".progress")) Object.assign(picture, { step: event.step, steps: event.steps });
  if (event.type.endsWith(".partial_image")) picture.preview = event.b64_json;
  if (event.type.endsWith(".completed")) {
    const { b64_json: png, seed, steps, guidance_scale: guidance, model } = event;
    Object.assign(picture, { png, seed, steps, guidance, model });
    delete picture.preview;
    delete picture.step;
  }
  changed(picture);
}
