// SPDX-License-Identifier: LGPL-2.1-or-later
// Drives /graphql with the reference implementation of npm. Usage: graphql.js audit|schema|differ URL TOKEN
"use strict";

const { serverAudits } = require("graphql-http");
const graphql = require("graphql");

const [, , command, url, token] = process.argv;

const withToken = (address, init = {}) =>
  fetch(address, { ...init, headers: { ...(init.headers || {}), authorization: `Bearer ${token}` } });

const ask = async (body) => {
  const answer = await withToken(url, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json" },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
};

// The audits of the GraphQL over HTTP specification: all that it says with MUST and SHOULD.
async function audit() {
  let failed = 0;
  for (const one of serverAudits({ url, fetchFn: withToken })) {
    const result = await one.fn();
    if (result.status === "ok") continue;
    console.log(`${result.status}: ${one.id} ${one.name}: ${result.reason}`);
    failed += result.status === "error" || result.status === "warn";
  }
  console.log(`${failed} failed`);
}

// What introspection says is a schema for the reference implementation too.
async function schema() {
  const answer = await ask({ query: graphql.getIntrospectionQuery({ specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true }) });
  if (!answer.body.data || answer.body.errors) throw new Error(JSON.stringify(answer.body).slice(0, 2000));
  const built = graphql.buildClientSchema(answer.body.data);
  graphql.assertValidSchema(built);
  return built;
}

const seeds = [
  "query Q($id: ID!, $n: Int = 3) { project(id: $id) { id key tasks(first: $n, status: TODO) { items { id title project { name } } next } } }",
  "{ projects(state: ACTIVE, first: 2) { items { ...P } next } } fragment P on Project { id name tasks { items { ... on Task { key due } } } }",
  'mutation M($i: NewProject!, $t: NewTask = {title: "x", priority: LOW}) { createProject(input: $i) { id } createTask(project: "P", input: $t) { id status } }',
  'mutation { updateTask(project: "P", id: 1, version: 3, input: {title: null, due: "2026-01-01"}) { id } deleteTask(project: "P", id: "2", version: 1) }',
  "query A { a: project(id: 1) { id @skip(if: true) } a: project(id: 1) { name } } query B($b: Boolean!) { __typename @include(if: $b) }",
  "{ __schema { types { name fields(includeDeprecated: true) { name type { ...T } } } } __type(name: \"Task\") { kind } } fragment T on __Type { kind name ofType { name } }",
  '{ project(id: """block""") { description } task(project: "P", id: 1.5) { x: id x: key } }',
];

// A small generator of numbers, always the same for the same seed.
let state = 20260101;
const random = (n) => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return (state >>> 8) % n;
};

const split = (text) => text.match(/"""[^]*?"""|"[^"]*"|\.\.\.|[A-Za-z_][A-Za-z_0-9]*|-?[0-9.]+|[^\sA-Za-z_0-9]/g);

function mutate(words) {
  const all = split(seeds.join(" "));
  for (let n = 1 + random(3); n > 0; n--) {
    const at = random(words.length);
    switch (random(4)) {
      case 0: words.splice(at, 1); break;
      case 1: words.splice(at, 0, words[random(words.length)]); break;
      case 2: words[at] = all[random(all.length)]; break;
      default: words.splice(at, 0, all[random(all.length)]);
    }
  }
  return words.join(" ");
}

function reference(built, text) {
  let document;
  try {
    document = graphql.parse(text);
  } catch (error) {
    return "GRAPHQL_PARSE_FAILED";
  }
  return graphql.validate(built, document).length > 0 ? "GRAPHQL_VALIDATION_FAILED" : "BAD_USER_INPUT";
}

// Thousands of documents, valid and less so: the verdict is the same as the reference implementation's. None is executed, as there is no
// operation of the name that is asked for.
async function differ(count) {
  const built = await schema();
  const seen = {};
  let different = 0;
  for (let i = 0; i < count; i++) {
    const words = split(seeds[i % seeds.length]);
    const text = i < seeds.length ? words.join(" ") : mutate(words);
    const answer = await ask({ query: text, operationName: "__none" });
    const got = answer.body.errors && answer.body.errors[0].extensions.code;
    const want = reference(built, text);
    if (got === "LIMIT_EXCEEDED") continue;
    seen[want] = (seen[want] || 0) + 1;
    if (got === want) continue;
    console.log(`${got} instead of ${want}: ${text}: ${JSON.stringify(answer.body.errors)}`);
    different++;
  }
  console.log(JSON.stringify(seen));
  console.log(`${different} different`);
}

const commands = { audit, schema: async () => console.log(Object.keys((await schema()).getTypeMap()).sort().join(" ")), differ: () => differ(1500) };
commands[command]().catch((error) => {
  console.log(`error: ${error.stack}`);
  process.exitCode = 1;
});
