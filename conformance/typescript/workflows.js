// Workflows of the tests.
const workflow = require("@temporalio/workflow");

const DAY = 24 * 3600 * 1000;

const { flaky, sleeper } = workflow.proxyActivities({
  startToCloseTimeout: 30 * DAY,
  retry: { initialInterval: DAY, backoffCoefficient: 1 },
});

/** A nap of so many milliseconds; returns how long it was by the workflow's clock. */
exports.nap = async function nap(milliseconds) {
  const begin = Date.now();
  await workflow.sleep(milliseconds);
  return Date.now() - begin;
};

/** An activity that takes so long in the environment's time, against a timer of ten days. */
exports.race = async function race(milliseconds) {
  return await Promise.race([
    sleeper(milliseconds).then(() => "activity"),
    workflow.sleep(10 * DAY).then(() => "timer"),
  ]);
};

/** An activity that fails twice, with a day between its attempts. */
exports.retried = async function retried() {
  const begin = Date.now();
  const attempt = await flaky();
  return [attempt, Date.now() - begin];
};

exports.wake = workflow.defineSignal("wake");

/** Waits for a signal for thirty days. */
exports.signaled = async function signaled() {
  let awake = false;
  workflow.setHandler(exports.wake, () => {
    awake = true;
  });
  return await workflow.condition(() => awake, 30 * DAY);
};

/** Three runs of a year with a child of a month in each. */
exports.chain = async function chain(left) {
  await workflow.executeChild("nap", { args: [30 * DAY] });
  await workflow.sleep(335 * DAY);
  if (left > 1) await workflow.continueAsNew(left - 1);
};

/** Meets its timeout: there is nothing else to wait for. */
exports.forever = async function forever() {
  await workflow.condition(() => false);
};
