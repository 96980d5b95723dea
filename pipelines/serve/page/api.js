// What the page asks of the service: HTTP and streams of events, errors in words.

const KEY = "pixsem.key";

/** An answer that is an error. `status` is HTTP's, 0 where there was no answer; `param` the field that is wrong. */
export class Refused extends Error {
  constructor(status, { message, type = "", param = null }, retry = 0) {
    super(message);
    Object.assign(this, { status, type, param, retry });
  }
  /** Seconds until it is worth trying again; 0 where it is not. An error inside a stream has a type and no status. */
  get again() {
    return ["rate_limit_error", "overloaded_error"].includes(this.type) ? this.retry || 5 : 0;
  }
  /** Whether what was asked for is wrong, so that the same would be refused again. */
  get wrong() {
    return this.type === "invalid_request_error" || (this.status >= 400 && this.status < 500 && !this.again);
  }
  get lost() {
    return this.status === 0;
  }
}

const LOST = "The server does not answer.";
const CUT = "The connection ended before the picture was done.";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: LOST });
  }
  if (answer.ok) return answer;
  const told = await answer.json().then((body) => body.error, () => null);
  const message = told?.message || `The server answered ${answer.status}.`;
  throw new Refused(answer.status, { ...told, message }, Number(answer.headers.get("Retry-After")) || 0);
}

export const about = async () => (await request("about", { cache: "no-store" })).json();
export const card = async () => (await request("card")).text();

/** Yield the events of a stream of server-sent events: the JSON of each. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (text + value).split(/\r?\n\r?\n/);
      text = parts.pop();
      for (const part of parts) {
        const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
        const whole = data.join("\n").trim();
        if (whole && whole !== "[DONE]") yield JSON.parse(whole);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: CUT });
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Make pictures, or edits of `source` (a Blob); call `heard(event)` for each event. Rejects with `Refused`. */
export async function make(fields, source, heard, signal) {
  const asked = { ...fields, stream: true, progress: true };
  const headers = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  const options = { method: "POST", headers, signal };
  if (source) {
    options.body = new FormData();
    for (const [name, value] of Object.entries(asked)) options.body.append(name, String(value));
    options.body.append("image", source, "source.png");
  } else {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(asked);
  }
  const answer = await request(source ? "v1/images/edits" : "v1/images/generations", options);
  let left = asked.n ?? 1;
  for await (const event of events(answer.body)) {
    if (event.error) throw new Refused(500, event.error);
    heard(event);
    if (event.type.endsWith(".completed")) left -= 1;
  }
  if (left) throw new Refused(0, { message: CUT });
}
