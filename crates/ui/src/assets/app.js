// What pages do by themselves: stay true while they are looked at, open forms above the list, complete filters, copy, decode.
// Every page works without it, but for the codec server and the timeline.
"use strict";
(() => {
  const body = document.body;
  const base = body.dataset.base || "";
  const namespace = body.dataset.namespace || "";
  const $$ = (what, where = document) => [...where.querySelectorAll(what)];
  const prefer = (name, value) => {
    document.cookie = `${name}=${encodeURIComponent(value)}; Path=/; SameSite=Strict; Max-Age=31536000`;
  };

  // Times ------------------------------------------------------------------------------------------------------------
  const length = (s) => s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m` : s < 86400 ? `${Math.floor(s / 3600)}h`
    : s < 31536000 ? `${Math.floor(s / 86400)}d` : `${Math.floor(s / 31536000)}y`;
  const age = (at) => {
    const seconds = Math.floor(Date.now() / 1000) - Math.floor(at / 1000);
    return seconds === 0 ? "now" : seconds > 0 ? `${length(seconds)} ago` : `in ${length(-seconds)}`;
  };
  const two = (n) => String(n).padStart(2, "0");
  const absolute = (at) => {
    const d = new Date(at);
    const offset = -d.getTimezoneOffset();
    const rest = Math.abs(offset) % 60;
    const zone = offset === 0 ? "UTC" : `UTC${offset < 0 ? "-" : "+"}${Math.floor(Math.abs(offset) / 60)}${rest ? ":" + two(rest) : ""}`;
    return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())} ${zone}`;
  };
  const ages = (where = document) => {
    for (const time of $$('time[data-style="relative"]', where)) {
      const text = age(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  // The server writes times in the zone that the cookie names; the first page of a browser is written anew here.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const zoneIsNew = !document.cookie.split("; ").includes(`sempre_zone=${encodeURIComponent(zone)}`);
  if (zoneIsNew) prefer("sempre_zone", zone);
  const inZone = (where = document) => {
    if (!zoneIsNew) return;
    for (const time of $$("time[datetime]", where)) {
      if (time.dataset.style === "utc") continue;
      const text = absolute(Date.parse(time.dateTime));
      time.title = text;
      if (time.dataset.style === "local") time.textContent = text;
    }
  };
  if (namespace) prefer("sempre_namespace", namespace);

  // What has been done is said once ----------------------------------------------------------------------------------
  const here = new URL(location.href);
  if (here.searchParams.has("done")) {
    here.searchParams.delete("done");
    history.replaceState(null, "", here);
  }

  // Copying ----------------------------------------------------------------------------------------------------------
  const copyable = (where = document) => { if (navigator.clipboard) for (const button of $$("button.copy", where)) button.hidden = false; };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("is-done");
    setTimeout(() => button.classList.remove("is-done"), 1200);
  });

  // Menus close when something else is meant -------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const menu = document.querySelector("details.menu[open]");
      if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
    }
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.querySelector(".filter input[type=text]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    }
  });

  // Forms above the page they are about ------------------------------------------------------------------------------
  let dialog = null;
  const openForm = async (link) => {
    let form = null;
    try {
      const answer = await fetch(link.href, { headers: { accept: "text/html" } });
      if (answer.ok) form = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("form.form");
    } catch { /* the page itself says what is wrong */ }
    if (!form) { location.href = link.href; return; }
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog || event.target.closest("[data-close]")) { event.preventDefault(); dialog.close(); }
      });
      document.body.append(dialog);
    }
    dialog.onclose = () => { dialog.replaceChildren(); if (link.isConnected) link.focus(); };
    dialog.replaceChildren(document.adoptNode(form));
    const title = form.querySelector("h1");
    if (title) { title.id = "dialog-title"; dialog.setAttribute("aria-labelledby", "dialog-title"); }
    dialog.showModal();
    const first = form.querySelector("input:not([type=hidden]), textarea, select") || form.querySelector("button");
    if (first) first.focus();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const menu = link.closest("details.menu");
    if (menu) menu.open = false;
    openForm(link);
  });
  // Sent once, and what is for workers as the codec server makes it.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    const inputs = codec ? $$("textarea[data-json]", form).filter((field) => field.value.trim()) : [];
    if (inputs.length || form.method === "post") form.dataset.sent = "yes";
    if (inputs.length) { event.preventDefault(); encode(form, inputs); }
  });
  // Whoever goes back finds the form as it was.
  addEventListener("pageshow", () => {
    for (const form of $$("form[data-sent]")) unsent(form);
  });

  // Many runs at once ------------------------------------------------------------------------------------------------
  const bulk = () => {
    const what = document.querySelector("[data-bulk]");
    if (!what) return;
    const boxes = $$('input[name="run"]');
    const ticked = boxes.filter((box) => box.checked).length;
    what.textContent = ticked ? `${ticked} selected:` : "All that match:";
    const all = document.querySelector("[data-all]");
    if (all) { all.checked = ticked > 0 && ticked === boxes.length; all.indeterminate = ticked > 0 && ticked < boxes.length; }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) for (const box of $$('input[name="run"]')) box.checked = event.target.checked;
    if (event.target.matches('[data-all], input[name="run"]')) bulk();
  });

  // Payloads that a codec server reads, and makes --------------------------------------------------------------------
  const codec = body.dataset.codec;
  const convert = async (what, payloads) => {
    const url = `${codec.replaceAll("{namespace}", encodeURIComponent(namespace)).replace(/\/+$/, "")}/${what}`;
    const headers = { "content-type": "application/json", "x-namespace": namespace };
    if (body.dataset.codecToken) headers.authorization = body.dataset.codecToken;
    const credentials = body.dataset.codecCredentials ? "include" : "omit";
    const answer = await fetch(url, { method: "POST", headers, credentials, body: JSON.stringify({ payloads }) });
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    return (await answer.json()).payloads;
  };
  const decoded = new Map();
  const bytes = (text) => Uint8Array.from(atob(text || ""), (letter) => letter.charCodeAt(0));
  const asText = (payload) => {
    const encoding = new TextDecoder().decode(bytes(payload.metadata && payload.metadata.encoding));
    if (encoding === "binary/null") return "null";
    const text = new TextDecoder().decode(bytes(payload.data));
    try { return encoding.startsWith("json/") ? JSON.stringify(JSON.parse(text), null, 2) : null; } catch { return null; }
  };
  const decode = async (where = document) => {
    if (!codec) return;
    const all = $$("pre.encoded[data-payload]", where).filter((pre) => pre.dataset.payload);
    const show = (pre) => {
      const text = decoded.get(pre.dataset.payload);
      if (text === undefined) return false;
      pre.textContent = text;
      pre.classList.remove("encoded");
      return true;
    };
    const unknown = all.filter((pre) => !show(pre)).slice(0, 200);
    if (!unknown.length) return;
    try {
      const payloads = await convert("decode", unknown.map((pre) => JSON.parse(pre.dataset.payload)));
      if (decoded.size > 2000) decoded.clear();
      unknown.forEach((pre, at) => {
        const text = payloads[at] && asText(payloads[at]);
        if (text !== null && text !== undefined) { decoded.set(pre.dataset.payload, text); show(pre); }
      });
    } catch (error) {
      for (const pre of unknown) pre.title = `The codec server did not decode this: ${error.message}`;
    }
  };

  // JSON values one after the other, as the server takes them, each as it is written: numbers keep all their digits.
  const values = (text) => {
    const all = [];
    let from = -1, depth = 0, quoted = false;
    const cut = (to) => { if (from >= 0) all.push(text.slice(from, to)); from = -1; };
    for (let at = 0; at < text.length; at++) {
      const letter = text[at];
      if (quoted) {
        if (letter === "\\") at++;
        else if (letter === '"') { quoted = false; if (!depth) cut(at + 1); }
      } else if (" \t\r\n".includes(letter)) {
        if (!depth) cut(at);
      } else if ('"[{'.includes(letter)) {
        if (!depth) { cut(at); from = at; }
        if (letter === '"') quoted = true; else depth++;
      } else if ("]}".includes(letter)) {
        if (!depth) return null;
        depth--;
        if (!depth) cut(at + 1);
      } else if (from < 0) from = at;
    }
    cut(text.length);
    try { for (const one of all) JSON.parse(one); } catch { return null; }
    return all;
  };
  const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
  const unsent = (form) => {
    delete form.dataset.sent;
    for (const hidden of $$("input[data-encoded]", form)) hidden.remove();
    for (const field of $$("textarea[data-json]", form)) field.disabled = false;
  };
  const refuse = (form, text) => {
    unsent(form);
    let told = form.querySelector("p.error");
    if (!told) {
      told = document.createElement("p");
      told.className = "error";
      told.role = "alert";
      const title = form.querySelector("h1");
      if (title) title.after(told); else form.prepend(told);
    }
    told.textContent = text;
  };
  const WRITTEN = "sempre-written";
  // Sends a form with what the codec server made of its inputs, and without what was written.
  const encode = async (form, inputs) => {
    for (const field of inputs) {
      const texts = values(field.value);
      if (!texts) { refuse(form, "The input is not JSON. Write one JSON value for each argument, below each other; texts stand in quotes."); return; }
      const hidden = document.createElement("input");
      try {
        const payloads = await convert("encode", texts.map((text) => ({ metadata: { encoding: base64("json/plain") }, data: base64(text) })));
        if (!Array.isArray(payloads) || payloads.length !== texts.length) throw new Error("it made another number of payloads");
        hidden.value = JSON.stringify({ payloads });
      } catch (error) { refuse(form, `The codec server did not encode the input, so nothing was sent: ${error.message}`); return; }
      hidden.type = "hidden";
      hidden.name = `${field.name}-encoded`;
      hidden.dataset.encoded = "";
      field.after(hidden);
    }
    // The same form may come back with what is wrong: what was written is put in again, and kept no longer.
    const path = new URL(form.getAttribute("action"), location.href).pathname;
    try { sessionStorage.setItem(WRITTEN, JSON.stringify({ path, texts: inputs.map((field) => field.value) })); } catch { /* a browser that keeps nothing */ }
    for (const field of inputs) field.disabled = true;
    form.submit();
  };
  try {
    const written = JSON.parse(sessionStorage.getItem(WRITTEN));
    sessionStorage.removeItem(WRITTEN);
    if (written && written.path === location.pathname) {
      $$("textarea[data-json]").forEach((field, at) => { if (!field.value) field.value = written.texts[at] || ""; });
    }
  } catch { /* a browser that keeps nothing */ }

  // Staying true -----------------------------------------------------------------------------------------------------
  const signatures = new WeakMap();
  // Ages pass by themselves; they are no change.
  const signature = (element) => element.outerHTML.replace(/(<time[^>]*>)[^<]*(?=<\/time>)/g, "$1");
  const remember = (region) => {
    signatures.set(region, signature(region));
    for (const child of region.children) signatures.set(child, signature(child));
  };
  const keep = (from, to) => {
    const details = $$("details", from), others = $$("details", to);
    if (from.matches("details") && from.open) to.open = true;
    details.forEach((one, at) => { if (one.open && others[at]) others[at].open = true; });
    for (const box of $$("input[type=checkbox]:checked", from)) {
      const other = $$("input[type=checkbox]", to).find((one) => one.value === box.value && one.name === box.name);
      if (other) other.checked = true;
    }
  };
  const busy = (element) => {
    const active = document.activeElement;
    return element.contains(active) && active.matches("input, textarea, select, summary, a, button, pre") || $$("details.menu[open]", element).length > 0;
  };
  const enhance = (where) => { copyable(where); inZone(where); ages(where); decode(where); };
  const merge = (old, fresh) => {
    const known = signatures.get(old), now = signature(fresh);
    if (known === now) return;
    const keyed = [...fresh.children];
    if (keyed.length && keyed.every((child) => child.dataset.key !== undefined) && [...old.children].every((child) => child.dataset.key !== undefined)) {
      const olds = new Map([...old.children].map((child) => [child.dataset.key, child]));
      let place = old.firstElementChild, left = false;
      for (const child of keyed) {
        let one = olds.get(child.dataset.key);
        olds.delete(child.dataset.key);
        const sign = signature(child);
        const differs = one && signatures.get(one) !== sign;
        if (differs && busy(one)) left = true;
        if (differs && !busy(one)) {
          const next = document.adoptNode(child);
          keep(one, next);
          if (place === one) place = one.nextElementSibling;
          one.replaceWith(next);
          signatures.set(next, sign);
          enhance(next);
          one = next;
        } else if (!one) {
          one = document.adoptNode(child);
          signatures.set(one, sign);
          enhance(one);
        }
        if (place === one) place = one.nextElementSibling;
        else old.insertBefore(one, place);
      }
      for (const gone of olds.values()) if (busy(gone)) left = true; else gone.remove();
      // What somebody is at is left as it is, and looked at again the next time.
      if (left) { signatures.delete(old); return; }
    } else {
      if (busy(old)) return;
      keep(old, fresh);
      old.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
      for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      for (const child of old.children) signatures.set(child, signature(child));
      enhance(old);
    }
    signatures.set(old, now);
  };
  const merged = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const region of $$("[data-live]")) {
      const fresh = region.id && page.getElementById(region.id);
      if (fresh) merge(region, fresh);
    }
    bulk();
    ages();
    return page;
  };

  const indicator = document.getElementById("live-state");
  const state = (name, text) => {
    if (!indicator) return;
    indicator.dataset.state = name;
    const words = indicator.querySelector(".live-text");
    if (words.textContent !== text) words.textContent = text;
  };
  let stream = body.dataset.stream || "", every = Number(body.dataset.every) || 0;
  let source = null, timer = 0, waiting = 0, reading = false, last = 0;
  const read = async () => {
    if (reading) { later(1000); return; }
    reading = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      // What is gone (a deleted run) is told by its own page.
      if (answer.status === 404) { location.reload(); return; }
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      const page = merged(await answer.text());
      // A token that is wanted no more, or meant for another codec server than this page's, is forgotten.
      const fresh = page.body.dataset;
      if (fresh.codecToken && fresh.codec === codec) body.dataset.codecToken = fresh.codecToken; else delete body.dataset.codecToken;
      document.dispatchEvent(new CustomEvent("sempre:read"));
      state("on", "Live");
      if (!page.body.dataset.stream && !page.body.dataset.every) { stream = ""; every = 0; stop(); state("over", "Done"); }
    } catch {
      state("lost", "Not connected");
    } finally {
      reading = false;
    }
  };
  const later = (least) => {
    if (waiting) return;
    waiting = setTimeout(() => { waiting = 0; read(); }, Math.max(least, 1000 - (Date.now() - last)));
  };
  const start = () => {
    if (stream && !source) {
      source = new EventSource(stream);
      let told = !stream.includes("workflow-stream");
      const change = (event) => {
        if (event.lastEventId) {
          const link = new URL(stream, location.href);
          link.searchParams.set("lastEventId", event.lastEventId);
          stream = link.href;
        }
        if (told) later(150);
      };
      for (const kind of ["run", "left", "history", "lagged"]) source.addEventListener(kind, change);
      source.addEventListener("ready", () => { told = true; });
      source.addEventListener("end", () => { source.close(); later(150); });
      source.addEventListener("refused", () => { source.close(); every = every || 10; });
      source.onopen = () => state("on", "Live");
      source.onerror = () => state("lost", "Not connected");
    }
    if (every && !timer) { timer = setInterval(read, every * 1000); state("on", "Live"); }
  };
  const stop = () => {
    if (source) { source.close(); source = null; }
    clearInterval(timer);
    timer = 0;
  };
  // A page nobody looks at holds no connection: browsers have six for each server.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else if (stream || every) { read(); start(); }
  });
  addEventListener("pagehide", stop);

  // Parts that were left for later -----------------------------------------------------------------------------------
  const loadParts = async () => {
    for (const part of $$("[data-load]")) {
      try {
        const answer = await fetch(part.dataset.load);
        if (!answer.ok) continue;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
        if (fresh) { delete part.dataset.load; merge(part, fresh); }
      } catch { /* the part says that it waits */ }
    }
  };

  // Completion of filters --------------------------------------------------------------------------------------------
  const complete = (field) => {
    const attributes = JSON.parse(field.dataset.attributes || "{}");
    const types = JSON.parse(field.dataset.types || "[]");
    const names = Object.keys(attributes).sort((a, b) => a.startsWith("Temporal") - b.startsWith("Temporal") || a.localeCompare(b));
    const values = {
      ExecutionStatus: ["Running", "Completed", "Failed", "TimedOut", "Terminated", "Canceled", "ContinuedAsNew", "Paused"],
      SempreHealth: ["workflow-task-failing", "activity-retrying"],
      SempreWaitingFor: ["start", "activity", "child-workflow", "external-workflow", "timer", "signal"],
      WorkflowType: types,
    };
    const operators = (type) => type === "Text" ? ["=", "!=", "IS NULL", "IS NOT NULL"]
      : type === "Keyword" || type === "KeywordList" ? ["=", "!=", "IN (", "STARTS_WITH", "IS NULL", "IS NOT NULL"]
      : type === "Bool" ? ["=", "!=", "IS NULL", "IS NOT NULL"] : ["=", "!=", ">", ">=", "<", "<=", "BETWEEN", "IS NULL", "IS NOT NULL"];
    const list = document.createElement("ul");
    list.className = "completion";
    list.id = "completion";
    list.role = "listbox";
    list.hidden = true;
    list.setAttribute("aria-label", "Suggestions");
    field.after(list);
    field.role = "combobox";
    field.setAttribute("aria-controls", list.id);
    field.setAttribute("aria-expanded", "false");
    field.setAttribute("aria-autocomplete", "list");
    const token = /'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.)*"?|`[^`]*`?|[A-Za-z_][\w.]*|[<>!]=|[=<>(),]|[^\s=<>!(),]+/g;
    // What may come at the cursor: [kind, attribute, what is written of it, where that begins].
    const context = () => {
      const text = field.value.slice(0, field.selectionStart);
      let expected = "name", attribute = "", part = "", from = text.length, before = "name";
      for (const found of text.matchAll(token)) {
        const word = found[0], upper = word.toUpperCase();
        before = expected;
        part = word; from = found.index;
        if (expected === "name") { if (upper !== "NOT" && word !== "(") { attribute = word.replaceAll("`", ""); expected = "operator"; } }
        else if (expected === "operator") { if (["IS", "NOT", "STARTS_WITH", "IN", "BETWEEN"].includes(upper) || /^[<>!=]/.test(word)) expected = "value"; }
        else if (expected === "value") { if (!["(", ",", "NOT"].includes(upper)) expected = upper.startsWith("'") && !/'$/.test(word.slice(1)) ? "value" : "join"; }
        else if (["AND", "OR"].includes(upper)) expected = "name";
        else if (word === ",") expected = "value";
      }
      if (from + part.length < text.length || !part || /^[=<>!(),]/.test(part)) return [expected, attribute, "", text.length];
      return [before, attribute, part, from];
    };
    const suggestions = () => {
      const [kind, attribute, part, from] = context();
      const type = attributes[attribute];
      const quote = (value) => type === "Int" || type === "Double" || type === "Bool" ? value : `'${value.replaceAll("'", "\\'")}'`;
      let all = [];
      if (kind === "name") all = names.map((name) => [/^\w+$/.test(name) ? name : `\`${name}\``, attributes[name]]);
      if (kind === "operator") all = operators(type).map((operator) => [operator, ""]);
      if (kind === "value") all = type === "Bool" ? [["true", ""], ["false", ""]] : type === "Datetime"
        ? [3600, 86400, 604800].map((seconds) => [`'${new Date(Date.now() - seconds * 1000).toISOString().slice(0, 19)}Z'`, `${length(seconds)} ago`])
        : (values[attribute] || []).map((value) => [quote(value), ""]);
      if (kind === "join") all = [["AND", ""], ["OR", ""]];
      const small = part.toLowerCase().replace(/^['"`]/, "");
      const fits = all.filter(([text]) => { const low = text.toLowerCase().replace(/^['"`]/, ""); return low.startsWith(small) || (small.length > 1 && low.includes(small)); });
      return { from, part, fits: fits.filter(([text]) => text !== part).slice(0, 12) };
    };
    let at = -1, current = null;
    const close = () => { list.hidden = true; at = -1; field.setAttribute("aria-expanded", "false"); field.removeAttribute("aria-activedescendant"); };
    const choose = (index) => {
      at = index;
      [...list.children].forEach((item, n) => item.setAttribute("aria-selected", String(n === at)));
      if (at >= 0) { list.children[at].scrollIntoView({ block: "nearest" }); field.setAttribute("aria-activedescendant", list.children[at].id); }
    };
    const open = () => {
      current = suggestions();
      list.replaceChildren(...current.fits.map(([text, about], n) => {
        const item = document.createElement("li");
        item.role = "option";
        item.id = `completion-${n}`;
        item.append(text);
        if (about) { const note = document.createElement("span"); note.textContent = about; item.append(note); }
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(n); });
        return item;
      }));
      list.hidden = current.fits.length === 0;
      field.setAttribute("aria-expanded", String(!list.hidden));
      choose(-1);
    };
    const take = (index) => {
      const [text] = current.fits[index];
      const rest = field.value.slice(field.selectionStart);
      const start = field.value.slice(0, current.from);
      const end = text.endsWith("(") ? "" : " ";
      const glue = start && !/[\s(]$/.test(start) ? " " : "";
      field.value = start + glue + text + end + rest.trimStart();
      const cursor = (start + glue + text + end).length;
      field.setSelectionRange(cursor, cursor);
      open();
    };
    field.addEventListener("input", open);
    field.addEventListener("click", () => { if (list.hidden) open(); });
    field.addEventListener("blur", close);
    field.addEventListener("keydown", (event) => {
      if (list.hidden) { if (event.key === "ArrowDown") { event.preventDefault(); open(); } return; }
      const many = list.children.length;
      if (event.key === "ArrowDown") { event.preventDefault(); choose((at + 1) % many); }
      else if (event.key === "ArrowUp") { event.preventDefault(); choose((at - 1 + many) % many); }
      else if (event.key === "Tab" && at >= 0 || event.key === "Enter" && at >= 0) { event.preventDefault(); take(at); }
      else if (event.key === "Escape") { event.preventDefault(); close(); }
    });
  };

  // Views that the viewer has named, kept in this browser ------------------------------------------------------------
  const views = (box) => {
    const key = `sempre-views:${box.dataset.views}`;
    const load = () => { try { return JSON.parse(localStorage.getItem(key) || "[]"); } catch { return []; } };
    const list = box.querySelector("ul"), name = box.querySelector("input"), save = box.querySelector("button");
    const here = () => new URLSearchParams(location.search).get("query") || "";
    const show = () => list.replaceChildren(...load().map((view, at) => {
      const item = document.createElement("li"), link = document.createElement("a"), drop = document.createElement("button");
      link.textContent = view.name;
      link.title = view.query;
      link.href = `${location.pathname}?${new URLSearchParams({ query: view.query })}`;
      drop.type = "button";
      drop.textContent = "✕";
      drop.setAttribute("aria-label", `Forget ${view.name}`);
      drop.addEventListener("click", (event) => { event.stopPropagation(); localStorage.setItem(key, JSON.stringify(load().filter((_, n) => n !== at))); show(); });
      item.append(link, drop);
      return item;
    }));
    const add = () => {
      const text = name.value.trim();
      if (!text) { name.focus(); return; }
      const others = load().filter((view) => view.name !== text);
      localStorage.setItem(key, JSON.stringify([...others, { name: text, query: here() }].slice(-50)));
      name.value = "";
      show();
    };
    save.addEventListener("click", add);
    name.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); add(); } });
    box.hidden = false;
    show();
  };

  // ------------------------------------------------------------------------------------------------------------------
  for (const region of $$("[data-live]")) remember(region);
  enhance(document);
  bulk();
  for (const field of $$("input[data-attributes]")) complete(field);
  for (const box of $$("[data-views]")) views(box);
  for (const line of $$("[data-timeline]")) {
    const script = document.createElement("script");
    script.src = line.dataset.script;
    document.head.append(script);
  }
  const marked = document.querySelector('[id^="event-"]');
  if (marked) marked.scrollIntoView({ block: "center" });
  setInterval(() => { if (!document.hidden) ages(); }, 1000);
  loadParts();
  if (!document.hidden) start();
})();
