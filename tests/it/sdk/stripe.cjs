// Signs or verifies with Stripe's own library. In: {"do", "secret", "items"} as JSON; out: a JSON list, one entry per item.
const stripe = require("stripe")("sk_test_sdk");

const task = JSON.parse(require("fs").readFileSync(0, "utf8"));
const { secret } = task;

const sign = (payload) => stripe.webhooks.generateTestHeaderString({ payload, secret });

const verify = ({ body, header }) => {
  try {
    return stripe.webhooks.constructEvent(body, header, secret).id;
  } catch (fault) {
    if (fault.type === "StripeSignatureVerificationError") return null;
    throw fault;
  }
};

process.stdout.write(JSON.stringify(task.items.map({ sign, verify }[task.do])));
