// Pictures as files: a person's own, and those to download.

/** Return a picture's address for an <img>. */
export const address = (png) => `data:image/png;base64,${png}`;

/** Return a PNG in base64 as a Blob. */
export function blob(png) {
  return new Blob([Uint8Array.from(atob(png), (sign) => sign.charCodeAt(0))], { type: "image/png" });
}

/**
 * Return a person's file as PNG in base64: its middle square, as the model sees it, on white, of at most `most` pixels
 * a side. So a photograph of any size is small enough to send and to keep. Rejects in words.
 */
export async function squarePng(file, most) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    const name = file.name || "What was pasted";
    throw new Error(`${name} is not a picture that this browser can read. PNG, JPEG and WebP work.`);
  }
  const short = Math.min(picture.width, picture.height);
  const side = Math.min(short, most);
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const paint = canvas.getContext("2d");
  paint.fillStyle = "white";
  paint.fillRect(0, 0, side, side);
  paint.imageSmoothingQuality = "high";
  paint.drawImage(picture, (picture.width - short) / 2, (picture.height - short) / 2, short, short, 0, 0, side, side);
  picture.close();
  return canvas.toDataURL("image/png").split(",")[1];
}

/** Return the name that a picture is downloaded under. */
export function fileName({ words, seed }) {
  const short = words.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 48) || "picture";
  return `${short}${seed === undefined ? "" : `-${seed}`}.png`;
}

/** Call `took(file)` for a picture that is chosen, dropped anywhere, or pasted. */
export function takeFiles(chooser, curtain, took) {
  const first = (list) => [...(list ?? [])].find((file) => file.type.startsWith("image/")) ?? list?.[0];
  const brings = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  chooser.addEventListener("change", () => {
    if (chooser.files[0]) took(chooser.files[0]);
    chooser.value = ""; // the same file can be chosen again
  });
  let depth = 0; // of elements that the pointer is inside of
  const show = (by) => (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    depth += by;
    curtain.togglePopover(depth > 0);
  };
  addEventListener("dragenter", show(1));
  addEventListener("dragover", show(0));
  addEventListener("dragleave", show(-1));
  addEventListener("drop", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    depth = 0;
    curtain.hidePopover();
    const file = first(event.dataTransfer.files);
    if (file) took(file);
  });
  addEventListener("paste", (event) => {
    const file = first(event.clipboardData?.files);
    if (file) took(file);
  });
}
