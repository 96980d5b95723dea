// A box for words with examples, settings, and what went wrong beside it: the same for prompts and instructions.

import { button } from "./gallery.js";

const EXAMPLES = 6; // of those that the model names
const FIELDS = ["seed", "guidance_scale", "steps", "image_guidance_scale"];

export class Form {
  /** `sent(words, fields)` is called with what was asked for, `stopped()` where the person wants it no longer. */
  constructor(form, chips, { sent, stopped, edits = false }) {
    Object.assign(this, { form, chips, usable: false });
    const find = (selector) => form.querySelector(selector);
    this.text = find("textarea");
    this.said = find(".row ~ .problem");
    this.settings = find(".settings");
    this.opener = find(".settings-button");
    this.send = find("[type=submit]");
    this.stop = find(".stop");
    this.settings.append(document.querySelector("#fields").content.cloneNode(true));
    if (!edits) find(".of-edits").remove();
    this.opener.addEventListener("click", () => this.#open(this.settings.hidden));
    this.stop.addEventListener("click", stopped);
    form.addEventListener("invalid", () => this.#open(true), true); // a field is wrong: it must be seen
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.send.hidden) form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.problem("");
      const words = this.text.value.trim();
      if (words) sent(words, this.#fields());
      else this.problem("Write a few words first.", "prompt");
    });
  }

  /** Show the model's own values and limits, and its examples. */
  about(model, examples) {
    this.usable = true;
    const { steps, guidance } = model.limits ?? {};
    const limits = { steps, guidance_scale: guidance, image_guidance_scale: guidance };
    for (const name of FIELDS) {
      const input = this.form.elements[name];
      if (!input) continue;
      if (name !== "seed") input.placeholder = model[name] ?? "";
      if (limits[name]) input.max = limits[name];
    }
    this.chips.hidden = !examples?.length;
    this.chips.replaceChildren(
      ...(examples ?? []).slice(0, EXAMPLES).map((text) =>
        button("chip", text, () => {
          this.text.value = text;
          this.problem("");
          this.text.focus();
        }),
      ),
    );
  }

  #fields() {
    const filled = FIELDS.filter((name) => this.form.elements[name]?.value);
    return Object.fromEntries(filled.map((name) => [name, Number(this.form.elements[name].value)]));
  }

  #open(shown) {
    this.settings.hidden = !shown;
    this.opener.setAttribute("aria-expanded", shown);
  }

  /** Say what went wrong, at the field that caused it. */
  problem(text, param = "") {
    this.said.textContent = text;
    for (const field of this.form.elements) field.removeAttribute("aria-invalid");
    const field = text && this.form.elements[param];
    if (!field) return;
    if (this.settings.contains(field)) this.#open(true);
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }

  /** Show whether something is on its way; `also` leaves the button that starts more. */
  busy(running, also = false) {
    this.stop.hidden = !running;
    this.send.hidden = running && !also;
  }

  clear() {
    this.text.value = "";
    this.problem("");
  }
}
