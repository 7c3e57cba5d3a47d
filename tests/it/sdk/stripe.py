# Signs or verifies with Stripe's own library. In: {"do", "secret", "items"} as JSON; out: a JSON list, one entry per item.
import json
import sys

import stripe

task = json.load(sys.stdin)
secret = task["secret"]


def sign(body):
    return stripe.WebhookSignature.generate_signature_header(body, secret)


def verify(item):
    try:
        return stripe.Webhook.construct_event(item["body"], item["header"], secret)["id"]
    except stripe.SignatureVerificationError:
        return None


json.dump([{"sign": sign, "verify": verify}[task["do"]](item) for item in task["items"]], sys.stdout)
