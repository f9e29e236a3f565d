// The TypeScript SDK's test environment with Sempre as its time-skipping test server.
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { after, before, test } = require("node:test");

const { Context } = require("@temporalio/activity");
const { WorkflowFailedError } = require("@temporalio/client");
const { TestWorkflowEnvironment } = require("@temporalio/testing");
const { Runtime, DefaultLogger, Worker, bundleWorkflowCode } = require("@temporalio/worker");

const DAY = 24 * 3600 * 1000;
const TASK_QUEUE = "queue";

let environment;
let bundle;

Runtime.install({ logger: new DefaultLogger("WARN") });

/** An environment of its own, with the binary under test as the existing test server. */
function start() {
  const executable = { type: "existing-path", path: process.env.SEMPRE_BIN };
  return TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
}

before(async () => {
  bundle = await bundleWorkflowCode({ workflowsPath: require.resolve("./workflows.js") });
  environment = await start();
});

after(async () => {
  await environment?.teardown();
});

async function withWorker(env, body) {
  const activities = {
    async sleeper(milliseconds) {
      await env.sleep(milliseconds);
    },
    async flaky() {
      const { attempt } = Context.current().info;
      if (attempt < 3) throw new Error("not yet");
      return attempt;
    },
  };
  const worker = await Worker.create({
    connection: env.nativeConnection,
    taskQueue: TASK_QUEUE,
    workflowBundle: bundle,
    activities,
  });
  return await worker.runUntil(body);
}

function options(...args) {
  return { workflowId: randomUUID(), taskQueue: TASK_QUEUE, args };
}

test("a year passes while its result is waited for", async () => {
  const [begin, wall] = [await environment.currentTimeMs(), Date.now()];
  const slept = await withWorker(environment, () => environment.client.workflow.execute("nap", options(365 * DAY)));
  assert.ok(slept >= 365 * DAY && slept < 366 * DAY, `slept ${slept} ms`);
  assert.ok((await environment.currentTimeMs()) - begin >= 365 * DAY);
  assert.ok(Date.now() - wall < 60_000);
});

test("an activity that sleeps in the environment's time races a timer", async () => {
  await withWorker(environment, async () => {
    assert.equal(await environment.client.workflow.execute("race", options(5 * DAY)), "activity");
    assert.equal(await environment.client.workflow.execute("race", options(15 * DAY)), "timer");
  });
});

test("retries are skipped to", async () => {
  const [attempt, took] = await withWorker(environment, () => environment.client.workflow.execute("retried", options()));
  assert.equal(attempt, 3);
  assert.ok(took >= 2 * DAY && took < 3 * DAY, `took ${took} ms`);
});

test("a test sleeps before it signals", async () => {
  await withWorker(environment, async () => {
    const handle = await environment.client.workflow.start("signaled", options());
    await environment.sleep(20 * DAY);
    await handle.signal("wake");
    assert.equal(await handle.result(), true);
    assert.equal(await environment.client.workflow.execute("signaled", options()), false, "nobody signals");
  });
});

test("children and a chain of runs", async () => {
  const begin = await environment.currentTimeMs();
  await withWorker(environment, () => environment.client.workflow.execute("chain", options(3)));
  const passed = (await environment.currentTimeMs()) - begin;
  assert.ok(passed >= 3 * 365 * DAY && passed < 3 * 366 * DAY, `passed ${passed} ms`);
});

test("a run that waits for nothing else meets its timeout", async () => {
  const run = () =>
    environment.client.workflow.execute("forever", { ...options(), workflowExecutionTimeout: 30 * DAY });
  await assert.rejects(withWorker(environment, run), WorkflowFailedError);
});

test("environments have times of their own", async () => {
  const others = await Promise.all([start(), start()]);
  try {
    const slept = await Promise.all(
      others.map((env, n) => withWorker(env, () => env.client.workflow.execute("nap", options((n + 1) * 100 * DAY)))),
    );
    slept.forEach((took, n) => assert.ok(took >= (n + 1) * 100 * DAY && took < ((n + 1) * 100 + 1) * DAY));
    const [first, second] = await Promise.all(others.map((env) => env.currentTimeMs()));
    assert.ok(second - first > 90 * DAY);
  } finally {
    for (const env of others) await env.teardown();
  }
});
