// SPDX-License-Identifier: LGPL-2.1-or-later
// Round trips with the official CloudEvents SDK of npm, as producer and consumer, in all content modes. Usage: cloudevents.js URL TOKEN
// URL is of the gateway or the bus. Says "N round trips, N different" in the end.
"use strict";
const assert = require("node:assert");
const http = require("node:http");
const { CloudEvent, HTTP } = require("cloudevents");

const [, , url, token] = process.argv;
const topic = `sdk-${process.pid}`;
const authorization = `Bearer ${token}`;
let trips = 0;
let different = 0;

const ask = async (method, path, headers = {}, body = undefined) => {
  const answer = await fetch(url + path, { method, headers: { authorization, ...headers }, body });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return { headers: Object.fromEntries(answer.headers), body: text };
};

const put = (path, value) => ask("PUT", path, { "content-type": "application/json" }, JSON.stringify(value));

// What the specification lets an event be. The SDK's own limits: in binary mode it takes JSON, text and bytes.
const common = { source: "https://example.org/sdk?a=1#b", type: "org.example.sdk" };
const samples = () => [
  new CloudEvent({ ...common, id: "object", subject: "a/b c", datacontenttype: "application/json", data: { text: "grün \"quoted\" \\ \u2028 \u{1F600}", list: [1, 2.5, null, true, { deep: [] }] } }),
  new CloudEvent({ ...common, id: "array", datacontenttype: "application/json; charset=utf-8", data: [1, "two", { three: 3 }] }),
  new CloudEvent({ ...common, id: "text", datacontenttype: "text/plain", data: "line one\nline two, grün \u{1F600}" }),
  new CloudEvent({ ...common, id: "xml", datacontenttype: "application/xml", dataschema: "https://example.org/schema.xsd", data: "<a b=\"c\">&amp;</a>" }),
  new CloudEvent({ ...common, id: "bytes", datacontenttype: "application/octet-stream", data: Uint8Array.from({ length: 256 }, (_, i) => i) }),
  new CloudEvent({ ...common, id: "nothing" }),
  new CloudEvent({ ...common, id: "extensions-1", datacontenttype: "application/json", data: {}, partitionkey: "k 1", comexampleflag: "true", sequence: "42", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }),
  new CloudEvent({ ...common, id: "id with blanks % ü \u{1F600}", subject: "100% ü", time: "2026-02-03T04:05:06.789Z", datacontenttype: "application/json", data: { n: 12345678901234 } }),
];

// As plain values, so that only what an event says is compared. The bus adds a trace and cursors where there is none.
const plain = (event) => {
  const value = JSON.parse(event.toString());
  if (event.data instanceof Uint8Array && !value.data_base64) value.data_base64 = Buffer.from(event.data).toString("base64");
  // Of text in binary form nobody knows whether it is text or bytes: the same bytes are the same.
  if (typeof value.data === "string") value.data_base64 = Buffer.from(value.data).toString("base64");
  if (value.data_base64) delete value.data;
  for (const own of ["mamcursor", "traceparent", "tracestate"]) if (!(own === "traceparent" && value.id.startsWith("extensions"))) delete value[own];
  value.time = new Date(value.time).toISOString();
  for (const [k, v] of Object.entries(value)) if (v === undefined || v === null) delete value[k];
  // In binary mode an extension is a field, and a field is text.
  for (const k of Object.keys(value)) if (!["data"].includes(k) && typeof value[k] !== "string") value[k] = String(value[k]);
  return value;
};

const compare = (how, sent, got) => {
  trips++;
  try {
    assert.deepStrictEqual(plain(got), plain(sent));
  } catch (e) {
    different++;
    console.log(`${how}: ${sent.id}: ${e.message}`);
  }
};

const send = {
  binary: async (events, path) => {
    for (const e of events) {
      const { headers, body } = HTTP.binary(e);
      for (const k of Object.keys(headers)) if (headers[k] === undefined) delete headers[k];
      // The SDK leaves the percent-encoding of fields to others.
      for (const k of Object.keys(headers)) if (k.startsWith("ce-")) headers[k] = String(headers[k]).replace(/[^\x21-\x7e]|["%]/gu, (c) => encodeURIComponent(c));
      if (e.data === undefined) delete headers["content-type"];
      await ask("POST", path, headers, body);
    }
  },
  structured: async (events, path) => {
    for (const e of events) {
      const { headers, body } = HTTP.structured(e);
      await ask("POST", path, headers, body);
    }
  },
  batch: (events, path) => ask("POST", path, { "content-type": "application/cloudevents-batch+json" }, JSON.stringify(events.map((e) => JSON.parse(HTTP.structured(e).body)))),
};

const decoded = (headers) => Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, k.startsWith("ce-") ? decodeURIComponent(v) : v]));

// What the SDK makes of a request that the bus pushes, by mode.
const listen = async (seen) => {
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (d) => parts.push(d));
    request.on("end", () => {
      if (request.method === "OPTIONS") {
        response.writeHead(200, { "WebHook-Allowed-Origin": request.headers["webhook-request-origin"], "WebHook-Allowed-Rate": "100000" }).end();
        return;
      }
      const bytes = Buffer.concat(parts);
      const type = request.headers["content-type"] || "";
      const text = type.startsWith("application/octet-stream") ? new Uint8Array(bytes) : bytes.toString();
      try {
        const got = HTTP.toEvent({ headers: decoded(request.headers), body: text.length ? text : undefined });
        for (const e of Array.isArray(got) ? got : [got]) seen(request.url.slice(1), e);
      } catch (e) {
        different++;
        console.log(`${request.url}: ${e.message}: ${bytes.toString().slice(0, 300)} ${JSON.stringify(request.headers)}`);
      }
      response.writeHead(204).end();
    });
  });
  await new Promise((done) => server.listen(4901, "127.0.0.1", done));
  return server;
};

async function main() {
  const got = { binary: new Map(), structured: new Map(), batch: new Map() };
  let wake = () => {};
  const server = await listen((mode, e) => {
    got[mode].set(e.id, e);
    wake();
  });
  for (const producer of ["binary", "structured", "batch"]) {
    const name = `${topic}-${producer}`;
    const sent = samples();
    await put(`/v1/topics/${name}`, {});
    for (const mode of Object.keys(got)) {
      got[mode].clear();
      await put(`/v1/subscriptions/${name}-${mode}`, { topic: name, from: "earliest", push: { url: `http://127.0.0.1:4901/${mode}`, mode, secret: `whsec_${Buffer.alloc(32, 7).toString("base64")}` } });
    }
    await send[producer](sent, `/v1/topics/${name}/events`);

    // read: a batch, and a page of ours with events in their JSON form
    const batch = await ask("GET", `/v1/topics/${name}/events?from=earliest&limit=100`, { accept: "application/cloudevents-batch+json" });
    const events = HTTP.toEvent(batch);
    assert.strictEqual(events.length, sent.length);
    events.forEach((e, i) => compare(`${producer}, read as batch`, sent[i], e));
    const page = JSON.parse((await ask("GET", `/v1/topics/${name}/events?from=earliest&limit=100`, { accept: "application/json" })).body);
    page.events.forEach((e, i) => compare(`${producer}, read as page`, sent[i], HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: JSON.stringify(e.event) })));

    // pushed
    const deadline = Date.now() + 30000;
    while (Object.values(got).some((m) => m.size < sent.length) && Date.now() < deadline)
      await new Promise((done) => {
        wake = done;
        setTimeout(done, 200);
      });
    for (const [mode, events] of Object.entries(got))
      for (const e of sent)
        if (events.has(e.id)) compare(`${producer}, pushed ${mode}`, e, events.get(e.id));
        else {
          different++;
          console.log(`${producer}, pushed ${mode}: ${e.id} never came`);
        }
    for (const mode of Object.keys(got)) await ask("DELETE", `/v1/subscriptions/${name}-${mode}`);
  }
  server.close();
  server.closeAllConnections();
  console.log(`${trips} round trips, ${different} different`);
  process.exitCode = different ? 1 : 0;
}

main().catch((e) => {
  console.log(String(e.stack));
  process.exit(1);
});
