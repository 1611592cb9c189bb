// A view of circuitsvis, from its own bundle: asked of the kernel once a page, run from a blob, given data as data.

const LOADING = Symbol.for("latw.circuitsvis");

function load(model) {
  if (globalThis.CircuitsVis) return Promise.resolve();
  globalThis[LOADING] ??= new Promise((done, failed) => {
    const take = (message, buffers) => {
      if (message.kind !== "bundle") return;
      model.off("msg:custom", take);
      const script = document.createElement("script");
      script.src = URL.createObjectURL(new Blob([buffers[0]], { type: "text/javascript" }));
      script.onload = () => done();
      script.onerror = () => failed(new Error("the bundle of circuitsvis did not run"));
      document.head.append(script);
    };
    model.on("msg:custom", take);
    model.send({ kind: "bundle" });
  });
  return globalThis[LOADING];
}

function render({ model, el }) {
  let open = true;

  async function draw() {
    const element = model.get("element");
    if (element === "") return el.replaceChildren();
    await load(model);
    if (!open) return undefined;
    const place = document.createElement("div");
    place.className = "latw-circuits";
    place.id = `latw-${crypto.randomUUID()}`;
    el.replaceChildren(place);
    return globalThis.CircuitsVis.render(place.id, globalThis.CircuitsVis[element], model.get("props"));
  }

  draw();
  model.on("change:props", draw);
  return () => {
    open = false;
    model.off("change:props", draw);
  };
}

export default { render };
