// The pictures of this tab: groups (what one request made), tiles, and what survives a reload.

import { address } from "./files.js";

const KEPT = "pixsem.gallery";
const MOST = 4_000_000; // characters kept over a reload: tabs may keep about five million

/**
 * Group: {words, own, fields, entries}; of a person's own picture `own` is true.
 * Entry: {versions, at, pending, group}, one tile. `versions` are finished pictures ({words, kind, png, seed, steps,
 * guidance, model, parent}), `at` the one that is shown, `pending` the one on its way (jobs.js), with `failed` in words
 * where it came to nothing.
 */
export class Gallery {
  constructor(place, actions) {
    Object.assign(this, { place, actions, groups: [], parts: new Map() });
  }

  /** Show a group above all others, and return its entries. */
  add({ words, own = false, fields = {} }, pendings) {
    const group = { words, own, fields, entries: [] };
    group.entries = pendings.map((pending) => ({ versions: [], at: -1, pending, group }));
    this.groups.unshift(group);
    this.place.prepend(this.#section(group));
    group.entries.forEach((entry) => this.update(entry));
    return group.entries;
  }

  /** Make the picture on its way the one that is shown. */
  finish(entry) {
    entry.versions.push(entry.pending);
    Object.assign(entry, { at: entry.versions.length - 1, pending: null });
    this.update(entry);
    this.save();
  }

  remove(entry) {
    const { group } = entry;
    group.entries = group.entries.filter((other) => other !== entry);
    this.parts.get(entry)?.tile.remove();
    this.parts.delete(entry);
    if (!group.entries.length) {
      this.groups = this.groups.filter((other) => other !== group);
      this.parts.get(group)?.remove();
      this.parts.delete(group);
    }
    this.save();
  }

  clear() {
    for (const entry of this.groups.flatMap((group) => group.entries)) this.remove(entry);
  }

  /** Keep the newest finished pictures, as many as a tab may keep. */
  save() {
    let left = MOST;
    const kept = [];
    for (const { words, own, entries } of this.groups) {
      const done = entries.filter((entry) => entry.versions.length).map(({ versions, at }) => ({ versions, at }));
      left -= JSON.stringify(done).length;
      if (left < 0) break;
      if (done.length) kept.push({ words, own, entries: done });
    }
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      sessionStorage.removeItem(KEPT); // a browser that keeps less, or nothing
    }
    this.actions.counted(this.groups.length);
  }

  restore() {
    for (const { entries, ...group } of JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").reverse()) {
      const made = this.add(group, entries.map(() => null));
      made.forEach((entry, number) => {
        Object.assign(entry, entries[number]);
        this.update(entry);
      });
    }
    this.actions.counted(this.groups.length);
  }

  #section(group) {
    const section = element("section", "group");
    const head = element("div", "row");
    head.append(element("h2", "", group.words));
    if (!group.own) head.append(button("link", "Use again", () => this.actions.reuse(group.words)));
    const tiles = element("div", "tiles");
    group.entries.forEach((entry, number) => tiles.append(this.#tile(entry, number)));
    section.append(head, tiles);
    this.parts.set(group, section);
    return section;
  }

  #tile(entry, number) {
    const open = button("open", "", () => this.actions.open(entry));
    const image = element("img");
    const meter = element("div", "meter");
    meter.setAttribute("role", "progressbar");
    meter.setAttribute("aria-label", `Picture ${number + 1}`);
    meter.append(element("i"));
    const said = element("span", "said");
    const again = button("quiet", "Try again", () => this.actions.again(entry));
    const remove = button("link", "Remove", () => this.remove(entry));
    const tile = element("div", "tile");
    open.append(image);
    tile.append(open, meter, said, again, remove);
    this.parts.set(entry, { tile, open, image, meter, said, again, remove, number });
    return tile;
  }

  /** Show what became of an entry. */
  update(entry) {
    const { tile, open, image, meter, said, again, remove, number } = this.parts.get(entry) ?? {};
    if (!tile) return; // removed while it was made
    const { pending, versions, at } = entry;
    const shown = versions[at];
    const png = pending?.preview ?? shown?.png;
    image.hidden = !png;
    if (png) image.src = address(png);
    image.alt = shown ? shown.words : "";
    open.disabled = !shown;
    const edits = versions.length - 1;
    open.setAttribute("aria-label", `Open picture ${number + 1}: ${shown?.words ?? ""}`);
    tile.classList.toggle("making", Boolean(pending && !pending.failed));
    tile.classList.toggle("failed", Boolean(pending?.failed));
    progress(meter, pending);
    const count = edits > 0 ? `${edits} edit${edits > 1 ? "s" : ""}` : "";
    said.textContent = !pending ? count : pending.failed && shown ? "The last edit failed." : stateOf(pending);
    again.hidden = remove.hidden = !pending?.failed || Boolean(shown);
  }
}

/** Say in words how far a picture on its way is. */
export function stateOf(pending) {
  if (pending.failed || pending.note) return pending.failed || pending.note;
  return pending.step ? `Step ${pending.step} of ${pending.steps}` : "Waiting for its turn";
}

/** Show how far a picture on its way is on a meter; none where none is. */
export function progress(meter, pending) {
  meter.hidden = !pending || Boolean(pending.failed);
  const share = pending?.steps ? (pending.step ?? 0) / pending.steps : 0;
  meter.style.setProperty("--share", share);
  meter.setAttribute("aria-valuemin", 0);
  meter.setAttribute("aria-valuemax", pending?.steps ?? 1);
  meter.setAttribute("aria-valuenow", pending?.step ?? 0);
}

/** Return a new element of a class, with a text. */
export function element(name, of = "", text = "") {
  const made = Object.assign(document.createElement(name), { className: of });
  made.textContent = text;
  return made;
}

/** Return a new button. */
export function button(of, text, pressed) {
  const made = Object.assign(element("button", of, text), { type: "button" });
  made.addEventListener("click", pressed);
  return made;
}
