// The page: what a person does, and what becomes of it.

import { about, card, key, Refused } from "./api.js";
import { Editor } from "./editor.js";
import { squarePng, takeFiles } from "./files.js";
import { Form } from "./form.js";
import { element, Gallery } from "./gallery.js";
import { jobs, makeAll } from "./jobs.js";

const NUMBERS = [1, 2, 4, 8];
const USUAL = 4; // pictures of one request
const OWN = 512; // pixels a side of a person's own picture, where the model's are smaller
const LOOK_S = 30; // between two looks at what is served; while the server is lost it is asked more often
const LOST_S = 3;
const find = (selector) => document.querySelector(selector);

let model = null; // what /about says
let looking = 0; // the timer of the next look
const running = new Set(); // what Stop ends: of the form of prompts
const editing = new Map(); // entry: what Stop ends

const live = (text) => {
  find("#live").textContent = text;
};

const gallery = new Gallery(find("#gallery"), {
  open: (entry) => editor.open(entry),
  again: (entry) => {
    entry.pending = { words: entry.group.words, kind: "made", parent: null, seed: entry.pending.seed };
    draw([entry]);
  },
  reuse,
  counted: (groups) => {
    find(".foot").hidden = find("#how").hidden = !groups;
  },
});

const asking = new Form(find("#ask"), find("#prompts"), {
  sent: (words, { seed = Math.floor(Math.random() * 2 ** 31), ...fields }) => {
    const number = Number(find("#ask").elements.n?.value ?? 1);
    const made = (_, place) => ({ words, kind: "made", parent: null, seed: seed + place });
    draw(gallery.add({ words, fields }, Array.from({ length: number }, made)));
  },
  stopped: () => running.forEach((controller) => controller.abort()),
});

const changing = new Form(find("#change"), find("#instructions"), {
  edits: true,
  sent: (words, fields) => editor.edit(words, fields),
  stopped: () => editing.get(editor.entry)?.abort(),
});

const editor = new Editor(find("#editor"), changing, {
  edit: change,
  changed: (entry) => {
    gallery.update(entry);
    gallery.save();
  },
});

function reuse(words) {
  asking.text.value = words;
  asking.text.focus();
  scrollTo({ top: 0 });
}

/** Make the pictures of some entries of one group. */
async function draw(entries) {
  const { words, fields } = entries[0].group;
  const controller = new AbortController();
  running.add(controller);
  asking.busy(true, true);
  entries.forEach((entry) => gallery.update(entry));
  live(`Making ${entries.length} picture${entries.length > 1 ? "s" : ""}: ${words}`);
  const pendings = entries.map((entry) => entry.pending);
  const changed = (pending) => {
    const entry = entries[pendings.indexOf(pending)];
    settle(entry, pending);
    const done = entries.filter((other) => !other.pending).length;
    if (pending.png) live(`Picture ${done} of ${entries.length} is ready.`);
  };
  try {
    await makeAll(pendings, { prompt: words, ...fields }, null, changed, controller.signal);
  } catch (error) {
    const left = entries.filter((entry) => entry.pending);
    const words = failure(error);
    if (error.wrong) {
      left.forEach((entry) => gallery.remove(entry)); // what was asked is still in the form, and said there
      asking.problem(words, error.param ?? "");
    } else {
      for (const entry of left) {
        entry.pending.failed = words;
        gallery.update(entry);
      }
      live(words);
    }
  } finally {
    running.delete(controller);
    asking.busy(running.size > 0, true);
  }
}

/** Edit the picture of an entry that is shown, by words. */
async function change(entry, words, fields, source) {
  const { seed = Math.floor(Math.random() * 2 ** 31), ...others } = fields;
  const pending = { words, kind: "edit", parent: entry.at, seed };
  const controller = new AbortController();
  editing.set(entry, controller);
  entry.pending = pending;
  const changed = () => {
    settle(entry, pending);
    editor.update(entry);
  };
  changed();
  live(`Editing: ${words}`);
  try {
    await makeAll([pending], { prompt: words, ...others }, source, changed, controller.signal);
    live("The edit is ready.");
    if (entry === editor.entry) changing.clear();
  } catch (error) {
    Object.assign(pending, { failed: failure(error), param: error.param });
    changed();
  } finally {
    editing.delete(entry);
  }
}

/** Show what became of a picture on its way. */
function settle(entry, pending) {
  if (!pending.png) return gallery.update(entry);
  gallery.finish(entry);
  if (model && pending.model !== model.id) look(); // another version answers now
}

/** Say in words why pictures were not made. */
function failure(error) {
  if (error.name === "AbortError") return "Stopped.";
  if (!(error instanceof Refused)) console.error(error);
  if (error.lost) look();
  return error.message;
}

/** A person's own picture becomes a group of its own, and is opened to be edited. */
async function own(file) {
  const said = find("#own-problem");
  said.textContent = "";
  if (!model?.edits) {
    said.textContent = model ? `${model.id} makes pictures from words alone. It edits none.` : "";
    return;
  }
  try {
    const png = await squarePng(file, Math.max(OWN, model.side));
    const words = file.name || "Pasted picture";
    const [entry] = gallery.add({ words, own: true }, [{ words, kind: "own", parent: null, png }]);
    gallery.finish(entry);
    editor.open(entry);
  } catch (error) {
    if (editor.dialog.open) changing.problem(error.message);
    said.textContent = error.message;
  }
}

/** Look at what is served now; again in a while. */
async function look() {
  clearTimeout(looking);
  const banner = find("#banner");
  try {
    const found = await about();
    if (found.id !== model?.id || found.digest !== model?.digest) show(found);
    banner.hidden = true;
  } catch (error) {
    const more = error.lost ? " Is pixsem serve still running? Your pictures are kept in this tab." : "";
    const words = error.message + more;
    if (banner.textContent !== words) banner.textContent = words; // is read aloud once
    banner.hidden = false;
  }
  looking = setTimeout(look, (banner.hidden ? LOOK_S : LOST_S) * 1000);
}

function show(found) {
  if (model) live(`${nameOf(found)} answers now.`);
  model = found;
  const chip = find("#version");
  chip.textContent = nameOf(found);
  chip.hidden = false;
  chip.setAttribute("aria-label", `About the model: ${nameOf(found)}`);
  document.documentElement.classList.toggle("small", found.side <= 128); // pictures are enlarged
  jobs.previews = Math.min(jobs.previews, found.limits?.previews ?? jobs.previews);
  asking.about(found, found.examples?.prompts);
  changing.about(found, found.examples?.instructions);
  find(".own").hidden = !found.edits;
  find("#change").hidden = !found.edits;
  const numbers = find(".number");
  if (numbers.querySelector("input")) return;
  for (const number of NUMBERS.filter((number) => number <= (found.limits?.n ?? 1))) {
    const label = element("label", "", String(number));
    const choice = { type: "radio", name: "n", value: number, checked: number <= USUAL };
    label.prepend(Object.assign(element("input"), choice));
    numbers.append(label);
  }
}

const nameOf = ({ name, version, alias }) => [version ? `${name} ${version}` : name, alias].filter(Boolean).join(" · ");

/** The model's card, from its HTML: nothing in it runs, and its links open elsewhere. */
async function showCard() {
  const paper = find("#card .paper");
  find("#card-title").textContent = nameOf(model);
  paper.textContent = "…";
  find("#card").showModal();
  try {
    const { body } = new DOMParser().parseFromString(await card(), "text/html");
    body.querySelectorAll("script, style, link, iframe, object, form").forEach((part) => part.remove());
    for (const link of body.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noopener" });
    paper.replaceChildren(...body.childNodes);
    const { refused } = model.watch ?? {};
    if (refused) paper.prepend(element("p", "problem", `A newer version is not served: ${refused}`));
  } catch (error) {
    paper.replaceChildren(element("p", "problem", error.message));
  }
}

/** Ask the person for the key; false where there is none. Jobs that need it at the same time share the question. */
let question = null;
jobs.askKey = (problem) => {
  question ??= new Promise((resolve) => {
    const dialog = find("#key");
    const secret = find("#secret");
    find("#key-problem").textContent = problem;
    secret.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    const end = (given) => {
      dialog.close();
      question = null;
      resolve(given);
    };
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      key.set(secret.value);
      end(true);
    };
    dialog.querySelector(".cancel").onclick = dialog.oncancel = () => {
      key.forget();
      end(false);
    };
  });
  return question;
};

for (const dialog of [find("#editor"), find("#card")]) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
}
find("#version").addEventListener("click", showCard);
find("#clear").addEventListener("click", () => {
  running.forEach((controller) => controller.abort());
  gallery.clear();
  asking.text.focus();
});
addEventListener("focus", () => model && look());
takeFiles(find("#file"), find("#drop"), own);
gallery.restore();
look();
