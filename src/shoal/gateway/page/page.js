"use strict";
// Keeps the page up to date. All words come from the server; this script only replaces
// them with newer ones, as text and never as markup.
(() => {
  const RETRY = 3000; // milliseconds until the next attempt after the server refused
  const SPEAK = 10000; // milliseconds between two announcements to screen readers
  const SAMPLES = 120; // of the graph, two per second
  const SVG_HEIGHT = 40;
  const state = document.getElementById("state");
  const shares = new Map();

  for (const section of document.querySelectorAll("[data-share]")) {
    const map = section.querySelector(".map");
    const shapes = new Map();
    if (map) {
      const shown = section.querySelectorAll(".chunks .legend path");
      map.querySelectorAll("[data-kind]").forEach((path, i) => {
        shapes.set(path.dataset.kind, [path, shown[i].getAttribute("d").slice(4)]);
      });
    }
    for (const hidden of section.querySelectorAll(".graph, [data-graph]")) {
      hidden.removeAttribute("hidden");
    }
    shares.set(Number(section.dataset.share), {
      section, map, shapes, down: 0, up: 0, history: [],
    });
  }

  function setState(isLive, text) {
    state.dataset.live = isLive ? "yes" : "no";
    state.lastElementChild.textContent = text;
  }

  function drawCells(share, parts) {
    let cells = share.map.dataset.cells;
    for (const [start, text] of parts) {
      cells = cells.slice(0, start) + text + cells.slice(start + text.length);
    }
    share.map.dataset.cells = cells;
    const columns = Number(share.map.dataset.columns);
    const step = Number(share.map.dataset.step);
    const drawn = new Map([...share.shapes.keys()].map((code) => [code, ""]));
    [...cells].forEach((code, i) => {
      const start = `M${(i % columns) * step} ${Math.floor(i / columns) * step}`;
      drawn.set(code, drawn.get(code) + start + share.shapes.get(code)[1]);
    });
    for (const [code, path] of drawn) share.shapes.get(code)[0].setAttribute("d", path);
  }

  function drawPeers(share, peers) {
    share.section.querySelector("tbody").replaceChildren(...peers.map((peer) => {
      const row = document.createElement("tr");
      const head = row.appendChild(document.createElement("th"));
      head.scope = "row";
      head.textContent = peer.where;
      for (const text of [peer.path, peer.has, peer.down, peer.up]) {
        row.insertCell().textContent = text;
      }
      row.cells[1].title = peer.source;
      return row;
    }));
  }

  function drawGraph(share) {
    const { history, section } = share;
    const peak = Math.max(1, ...history.flat());
    const line = (which) => history.map((pair, i) => {
      const x = SAMPLES - history.length + i + 1;
      const y = SVG_HEIGHT - 1 - (pair[which] / peak) * (SVG_HEIGHT - 3);
      return `${i ? "L" : "M"}${x} ${y.toFixed(1)}`;
    }).join("");
    const set = (name, d) =>
      section.querySelector(`[data-line=${name}]`).setAttribute("d", d);
    const first = SAMPLES - history.length + 1;
    set("down", line(0));
    set("up", line(1));
    set("area", `${line(0)}V${SVG_HEIGHT}H${first}Z`);
    section.querySelector("[data-peak]").textContent =
      peak > 1 ? `peak ${formatRate(peak)}` : "";
  }

  function formatRate(rate) {
    const units = ["B", "KiB", "MiB", "GiB"];
    let unit = 0;
    for (; rate >= 1024 && unit < 3; unit++) rate /= 1024;
    return `${rate.toFixed(unit ? 1 : 0)} ${units[unit]}/s`;
  }

  function apply(changes) {
    for (const change of changes) {
      const share = shares.get(change.number);
      if (!share) {
        location.reload(); // it was added since the page was loaded
        return;
      }
      if (change.is_known && "unknown" in share.section.dataset) {
        location.reload(); // now the server can list the files
        return;
      }
      for (const element of share.section.querySelectorAll("[data-text]")) {
        const text = change[element.dataset.text];
        if (text !== undefined) element.textContent = text;
      }
      if (!share.map) continue;
      if ("percent" in change) share.section.querySelector("progress").value = change.percent;
      if ("cells" in change) drawCells(share, change.cells);
      if ("map_label" in change) share.map.setAttribute("aria-label", change.map_label);
      if ("peers" in change) drawPeers(share, change.peers);
      if ("down" in change) share.down = change.down;
      if ("up" in change) share.up = change.up;
    }
  }

  // One connection, and none while the page is hidden: browsers limit them per host.
  let source = null;
  function listen() {
    if (source || document.hidden) return;
    source = new EventSource("events");
    source.onopen = () => setState(true, "Live");
    source.onmessage = (event) => apply(JSON.parse(event.data));
    source.onerror = () => {
      setState(false, "Not connected, retrying");
      if (source && source.readyState === EventSource.CLOSED) {
        disconnect();
        setTimeout(listen, RETRY);
      }
    };
  }
  function disconnect() {
    if (source) source.close();
    source = null;
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else listen();
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", listen);

  setInterval(() => {
    for (const share of shares.values()) {
      if (!share.map) continue;
      share.history.push([share.down, share.up]);
      if (share.history.length > SAMPLES) share.history.shift();
      if (!document.hidden) drawGraph(share);
    }
  }, 500);

  let announced = "";
  const live = document.getElementById("live");
  setInterval(() => {
    const text = [...document.querySelectorAll("[data-text=progress]")]
      .map((element) => element.textContent).join("; ");
    if (text !== announced) live.textContent = announced = text;
  }, SPEAK);

  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break; // browsers offer it only to secure pages
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select and copy it by hand";
      }
    });
  }

  for (const player of document.querySelectorAll("video, audio")) {
    player.addEventListener("error", () => {
      player.nextElementSibling.hidden = false;
    });
  }
})();
