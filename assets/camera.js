// Pictures of classes from the camera, in the tab "Teach". They stay in this browser (IndexedDB)
// until they are sent: as one zip with a table in it, which is read like any other.
// `element` holds the field, `upload` sends a file, `trigger` tells the server.
const field = element.querySelector(".camera");
const { dataset: said } = field;
const video = field.querySelector("video");
const list = field.querySelector(".classes");
const EVERY = 100; // milliseconds between two pictures
const BURST = 20; // pictures of a press without holding: by a switch, a voice, a screen reader
const SIDE = 448; // pixels of the longer side
const classes = []; // {id, name, shots: [{id, blob}], row}
let stream = null;
let number = 0;

// What is said of the camera stands below it, what is said of sending below its button.
const say = (text, kind = "", place = ".said") => {
  for (const line of field.querySelectorAll("[role=status]")) {
    line.textContent = line.matches(place) ? text : "";
    line.dataset.kind = kind;
  }
};
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const newId = () => `${Date.now()}-${String((number += 1)).padStart(6, "0")}`; // in their order
const all = () => classes.reduce((sum, { shots }) => sum + shots.length, 0);

// ---- what outlives a reload ----

const kept = new Promise((resolve) => {
  const opening = indexedDB.open("studio-camera", 1);
  opening.onupgradeneeded = () => {
    for (const store of ["classes", "shots"]) {
      opening.result.createObjectStore(store, { keyPath: "id" });
    }
  };
  opening.onsuccess = () => resolve(opening.result);
  opening.onerror = () => resolve(null); // a private window: they stay until it is closed
});
const keep = async (store, how, value) => {
  const base = await kept;
  base?.transaction(store, "readwrite").objectStore(store)[how](value);
};
const restored = async () => {
  const base = await kept;
  if (!base) return [];
  const asked = base.transaction(["classes", "shots"]);
  const read = (store) =>
    new Promise((resolve) => {
      const reading = asked.objectStore(store).getAll();
      reading.onsuccess = () => resolve(reading.result);
      reading.onerror = () => resolve([]);
    });
  const [groups, shots] = await Promise.all([read("classes"), read("shots")]);
  return groups.map(({ id, name }) => ({ id, name, shots: shots.filter((one) => one.of === id) }));
};

// ---- the camera ----

const WHY = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
};
const stop = () => {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = video.srcObject = null;
  field.dataset.on = "";
};
let starting = null;
const start = () => {
  starting ??= begin().finally(() => {
    starting = null;
  });
  return starting;
};
const begin = async (device) => {
  if (stream && !device) return true;
  if (!navigator.mediaDevices?.getUserMedia) {
    say(said.insecure, "bad");
    return false;
  }
  const which = device ? { deviceId: { exact: device } } : { facingMode: "environment" };
  try {
    stop();
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, ...which } });
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    stop();
    say(said[WHY[error.name] ?? "busy"], "bad");
    return false;
  }
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => {
    stop();
    say(said.busy, "bad"); // unplugged, or taken back in the browser's bar
  });
  field.dataset.on = "1";
  // A person before the screen expects a mirror; pictures are taken as they are.
  field.dataset.mirror = track.getSettings().facingMode === "environment" ? "" : "1";
  const devices = await navigator.mediaDevices.enumerateDevices();
  const cameras = devices.filter(({ kind }) => kind === "videoinput");
  field.dataset.cameras = cameras.length;
  say(said.started);
  return true;
};
const other = async () => {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const ids = devices.filter(({ kind }) => kind === "videoinput").map(({ deviceId }) => deviceId);
  const now = stream?.getVideoTracks()[0].getSettings().deviceId;
  await begin(ids[(ids.indexOf(now) + 1) % ids.length]);
};

// ---- taking pictures ----

const room = (group) => group.shots.length < Number(said.most) && all() < Number(said.all);
const taken = (group) => {
  if (!stream || !video.videoWidth) return false;
  if (!room(group)) {
    say(said.full, "bad");
    return false;
  }
  const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const shot = { id: newId(), of: group.id, blob: null };
  group.shots.push(shot);
  if (all() === 1) say(""); // how it is done is known now
  canvas.toBlob(
    (blob) => {
      if (!blob || !group.shots.includes(shot)) return; // its class was removed meanwhile
      shot.blob = blob;
      keep("shots", "put", shot);
      show(group, shot);
    },
    "image/jpeg",
    0.9,
  );
  count(group);
  return true;
};
let held = null; // the class whose button is held
const hold = async (group) => {
  if (held) return;
  held = group;
  keep("classes", "put", { id: group.id, name: group.name });
  group.row.dataset.taking = "1";
  if (await start()) while (held === group && taken(group)) await pause(EVERY);
  if (held === group) release();
};
const release = () => {
  if (held) held.row.dataset.taking = "";
  held = null;
};
const burst = async (group) => {
  hold(group);
  const wanted = group.shots.length + BURST;
  while (held === group && group.shots.length < wanted) await pause(EVERY / 4);
  if (held === group) release();
};
const listen = (group, button) => {
  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    hold(group);
  });
  // The button that was pressed before loses the focus to this one: that ends no hold of this one.
  const end = () => held === group && release();
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
    button.addEventListener(name, end);
  }
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!event.repeat) hold(group);
  });
  button.addEventListener("keyup", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    release();
  });
  button.addEventListener("click", (event) => {
    if (event.detail === 0) burst(group); // not the end of a hold, but a press of its own
  });
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // of a long touch
};

// ---- classes and their strips ----

const count = (group) => {
  group.row.querySelector(".count").textContent = said.count.replace("{count}", group.shots.length);
};
const show = (group, shot) => {
  const item = field.querySelector(".one-shot").content.firstElementChild.cloneNode(true);
  const [button, image] = [item.querySelector("button"), new Image()];
  button.append(image);
  image.alt = ""; // the button says what it does
  image.src = URL.createObjectURL(shot.blob);
  button.addEventListener("click", () => {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    URL.revokeObjectURL(image.src);
    group.shots.splice(group.shots.indexOf(shot), 1);
    keep("shots", "delete", shot.id);
    item.remove();
    count(group);
    (next?.querySelector("button") ?? group.row.querySelector(".take")).focus();
  });
  const strip = group.row.querySelector(".shots");
  strip.append(item);
  strip.scrollTop = strip.scrollHeight;
};
const remove = (group) => {
  const button = group.row.querySelector(".remove");
  if (group.shots.length && !button.dataset.sure) {
    button.dataset.sure = "1"; // until the focus is elsewhere
    button.textContent = said.sure;
    return;
  }
  for (const { id } of group.shots) keep("shots", "delete", id);
  keep("classes", "delete", group.id);
  classes.splice(classes.indexOf(group), 1);
  group.shots = [];
  group.row.remove();
  numbered();
  field.querySelector(".add").focus();
};
const numbered = () => {
  field.dataset.classes = classes.length;
  field.querySelector(".add").disabled = classes.length >= Number(said.groups);
};
const add = ({ id = newId(), name, shots = [] } = {}) => {
  const row = field.querySelector(".one-class").content.firstElementChild.cloneNode(true);
  const names = new Set(classes.map((one) => one.name));
  let free = classes.length + 1;
  while (names.has(said.name.replace("{number}", free))) free += 1;
  const group = { id, name: name ?? said.name.replace("{number}", free), shots, row };
  classes.push(group);
  list.append(row);
  const input = row.querySelector("input");
  input.value = group.name;
  input.addEventListener("focus", () => input.select());
  input.addEventListener("input", () => {
    group.name = input.value;
    keep("classes", "put", { id, name: group.name });
  });
  const button = row.querySelector(".remove");
  button.addEventListener("click", () => remove(group));
  button.addEventListener("blur", () => {
    delete button.dataset.sure;
    button.textContent = said.remove;
  });
  listen(group, row.querySelector(".take"));
  count(group);
  for (const shot of shots) show(group, shot);
  numbered();
  return group;
};

// ---- to the server ----

const CRC = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
const checksum = (bytes) => {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
};
// Numbers of a zip's headers: [bytes, value].
const packed = (parts) => {
  const view = new DataView(new ArrayBuffer(parts.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of parts) {
    view[size === 2 ? "setUint16" : "setUint32"](at, value, true);
    at += size;
  }
  return view.buffer;
};
// A zip whose files are stored as they are: JPEG does not get smaller.
const zipped = (files) => {
  const [body, directory] = [[], []];
  let [at, length] = [0, 0];
  for (const [path, bytes] of files) {
    const name = new TextEncoder().encode(path);
    const [size, zero] = [[4, bytes.length], [2, 0]];
    // Version, UTF-8 in names, stored, midnight of the first day there is, checksum and sizes.
    const same = [[2, 20], [2, 0x800], zero, zero, [2, 33], [4, checksum(bytes)], size, size];
    same.push([2, name.length], zero);
    const place = [zero, zero, zero, [4, 0], [4, at]];
    body.push(packed([[4, 0x04034b50], ...same]), name, bytes);
    directory.push(packed([[4, 0x02014b50], [2, 20], ...same, ...place]), name);
    at += 30 + name.length + bytes.length;
    length += 46 + name.length;
  }
  const [zero, many] = [[2, 0], [2, files.length]];
  const end = packed([[4, 0x06054b50], zero, zero, many, many, [4, length], [4, at], zero]);
  return new Blob([...body, ...directory, end], { type: "application/zip" });
};
const use = async () => {
  const used = classes.filter(({ shots }) => shots.some(({ blob }) => blob));
  const names = used.map(({ name }) => name.trim());
  if (used.length < 2) return say(said.two, "bad", ".sent");
  if (names.includes("") || new Set(names.map((name) => name.toLowerCase())).size < names.length) {
    return say(said.names, "bad", ".sent");
  }
  const button = field.querySelector(".send");
  button.disabled = true;
  say(said.sending, "", ".sent");
  try {
    const [files, rows] = [[], []];
    for (const [at, { shots }] of used.entries()) {
      for (const [place, { blob }] of shots.filter((one) => one.blob).entries()) {
        const image = `${at + 1}-${place + 1}.jpg`;
        files.push([image, new Uint8Array(await blob.arrayBuffer())]);
        rows.push(`${image},"${names[at].replaceAll('"', '""')}"\n`);
      }
    }
    const table = `image,answer\n${rows.join("")}`;
    files.unshift(["rows.csv", new TextEncoder().encode(table)]);
    const { path } = await upload(new File([zipped(files)], "webcam.zip"));
    stop();
    trigger("submit", { path, orig_name: said.called });
    say("");
  } catch {
    say(said.unsent, "bad", ".sent");
  }
  button.disabled = false;
};

// ---- presses ----

field.querySelector(".start").addEventListener("click", async () => {
  // The button is gone then, and the focus must not be lost with it.
  if (await start()) field.querySelector(".take").focus({ preventScroll: true });
});
field.querySelector(".stop").addEventListener("click", () => {
  stop();
  say("");
  field.querySelector(".start").focus();
});
field.querySelector(".other").addEventListener("click", other);
field.querySelector(".add").addEventListener("click", () => {
  const input = add().row.querySelector("input");
  input.focus();
});
field.querySelector(".send").addEventListener("click", use);

// Nobody is filmed who looks at something else.
const unseen = () => {
  if (document.hidden || !field.checkVisibility()) {
    release();
    stop();
  }
};
document.addEventListener("visibilitychange", unseen);
new IntersectionObserver(unseen).observe(field);

restored().then((groups) => {
  for (const group of groups) add(group);
  while (classes.length < 2) add();
});
