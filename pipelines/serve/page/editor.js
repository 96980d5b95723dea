// One picture, large: what it was made of, the step before beside it, edits by instruction, undo and redo.

import { address, blob, fileName } from "./files.js";
import { button, element, progress, stateOf } from "./gallery.js";

export class Editor {
  /** `actions`: edit(entry, fields, source, words) starts an edit, changed(entry) hears of undo. */
  constructor(dialog, form, actions) {
    Object.assign(this, { dialog, form, actions, entry: null });
    const find = (selector) => dialog.querySelector(selector);
    this.parts = Object.fromEntries(
      ["h2", ".stage", ".before", ".after", ".slider", ".undo", ".redo", ".history", ".facts", ".download", ".pixels",
        ".working", ".meter", ".working .said"].map((selector) => [selector.replace(/^\W|\W+/g, ""), find(selector)]),
    );
    this.parts.undo.addEventListener("click", () => this.go(this.undoTo));
    this.parts.redo.addEventListener("click", () => this.go(this.redoTo));
    this.parts.pixels.addEventListener("click", () => {
      const crisp = this.parts.stage.classList.toggle("crisp");
      this.parts.pixels.setAttribute("aria-pressed", crisp);
    });
    this.#compare();
    addEventListener("keydown", (event) => { // of the slider, which may be gone with a step, the page itself hears
      if (!this.entry || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      if (event.target.type !== "range" && event.target.value) return; // the browser undoes what was written there
      event.preventDefault();
      this.go(event.shiftKey ? this.redoTo : this.undoTo);
    });
    dialog.addEventListener("close", () => {
      this.entry = null;
    });
  }

  get shown() {
    return this.entry.versions[this.entry.at];
  }
  get busy() {
    return Boolean(this.entry.pending && !this.entry.pending.failed);
  }
  /** The steps that led to the one that is shown, it included. */
  get chain() {
    const found = [this.shown];
    while (found[0].parent !== null) found.unshift(this.entry.versions[found[0].parent]);
    return found;
  }
  get undoTo() {
    return this.shown.parent ?? -1;
  }
  get redoTo() {
    return this.entry.versions.findLastIndex((version) => version.parent === this.entry.at);
  }

  open(entry) {
    this.entry = entry;
    this.form.clear();
    this.show();
    if (!this.dialog.open) this.dialog.showModal();
    // On a phone the keyboard would cover the picture.
    if (this.form.usable && matchMedia("(min-width: 761px)").matches) this.form.text.focus();
  }

  /** Show another step of the picture; nothing where there is none, or an edit is on its way. */
  go(to) {
    if (to < 0 || this.busy) return;
    this.entry.at = to;
    this.actions.changed(this.entry);
    this.show();
  }

  /** Start an edit of the step that is shown. */
  edit(words, fields) {
    this.actions.edit(this.entry, words, fields, blob(this.shown.png));
  }

  /** Show the entry again, where it is the one that is open. */
  update(entry) {
    if (entry === this.entry) this.show();
  }

  show() {
    const { parts, entry, shown, busy } = this;
    const { pending, versions, at } = entry;
    const before = busy ? shown : versions[shown.parent];
    parts.h2.textContent = this.chain.map(({ words }) => words).join(" → ");
    parts.after.src = address(busy ? (pending.preview ?? shown.png) : shown.png);
    parts.after.alt = busy ? `being edited: ${pending.words}` : shown.words;
    parts.stage.classList.toggle("compared", Boolean(before) && (!busy || Boolean(pending.preview)));
    if (before) parts.before.src = address(before.png);
    parts.working.hidden = !busy;
    progress(parts.meter, pending);
    if (busy) parts.workingsaid.textContent = stateOf(pending);
    parts.undo.disabled = busy || this.undoTo < 0;
    parts.redo.disabled = busy || this.redoTo < 0;
    this.#history(versions, at, busy);
    this.#facts(shown);
    parts.download.href = address(shown.png);
    parts.download.download = fileName(shown);
    this.form.busy(busy);
    if (pending?.failed) this.form.problem(pending.failed, pending.param);
  }

  #history(versions, at, busy) {
    const { history } = this.parts;
    const focused = [...history.querySelectorAll("button")].indexOf(document.activeElement);
    history.hidden = versions.length < 2;
    history.replaceChildren(
      ...versions.map((version, number) => {
        const step = button("step", "", () => this.go(number));
        step.append(Object.assign(element("img"), { src: address(version.png), alt: "" }));
        step.title = version.words;
        step.disabled = busy;
        step.setAttribute("aria-label", `Step ${number + 1} of ${versions.length}: ${version.words}`);
        if (number === at) step.setAttribute("aria-current", "step");
        const item = element("li");
        item.append(step);
        return item;
      }),
    );
    history.querySelectorAll("button")[focused]?.focus();
  }

  #facts({ seed, steps, guidance, model }) {
    const told = { Seed: seed, Steps: steps, Guidance: guidance, "Made by": model };
    const rows = Object.entries(told).filter(([, value]) => value !== undefined && value !== null);
    const lines = rows.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);
    this.parts.facts.replaceChildren(...lines);
    this.dialog.querySelector(".keeps").hidden = !rows.length;
  }

  /** The line between before and after follows the slider, and the pointer anywhere on the picture. */
  #compare() {
    const { stage, slider } = this.parts;
    const move = () => {
      stage.style.setProperty("--at", `${slider.value}%`);
      slider.setAttribute("aria-valuetext", `${slider.value} % before, ${100 - slider.value} % after`);
    };
    const follow = (event) => {
      if (!(event.buttons & 1)) return;
      const { left, width } = slider.getBoundingClientRect();
      slider.value = ((event.clientX - left) / width) * 100;
      move();
    };
    slider.addEventListener("input", move);
    slider.addEventListener("pointermove", follow);
    slider.addEventListener("pointerdown", follow);
    move();
  }
}
