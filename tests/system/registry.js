// SPDX-License-Identifier: LGPL-2.1-or-later
// Drives the registry with the Consul client of npm, as any program would. Usage: registry.js list|watch SERVICE
// list: prints each passing instance as "ID ADDRESS:PORT". watch: prints "watching", then the number of instances upon each change.
"use strict";
const Consul = require("consul");

const consul = new Consul({ host: "127.0.0.1", port: 5000, defaults: { token: process.env.REGISTRY_TOKEN } });
const [command, service] = process.argv.slice(2);

async function list() {
  const leader = await consul.status.leader();
  if (typeof leader !== "string" || leader === "") throw new Error(`leader: ${leader}`);
  const self = await consul.agent.self();
  if (!self.Config.NodeID || !self.Config.Datacenter) throw new Error("agent/self is not complete");
  const names = await consul.catalog.service.list();
  if (!Array.isArray(names[service])) throw new Error(`no tags of ${service}`);
  const nodes = await consul.catalog.service.nodes(service);
  const agent = await consul.agent.service.list();
  const entries = await consul.health.service({ service, passing: true });
  for (const e of entries) {
    if (!agent[e.Service.ID]) throw new Error(`${e.Service.ID} is not among agent/services`);
    if (!nodes.some((n) => n.ServiceID === e.Service.ID && n.ID === e.Node.ID)) throw new Error(`${e.Service.ID} is not in the catalog`);
    console.log(`${e.Service.ID} ${e.Service.Address}:${e.Service.Port}`);
  }
}

function watch() {
  const w = consul.watch({ method: consul.health.service, options: { service, passing: true, wait: "60s" } });
  let first = true;
  w.on("change", (data) => {
    if (first) console.log("watching");
    first = false;
    console.log(data.length);
  });
  w.on("error", (e) => {
    console.log(`error: ${e.message}`);
  });
}

(command === "watch" ? Promise.resolve().then(watch) : list()).catch((e) => {
  console.error(e);
  process.exit(1);
});
