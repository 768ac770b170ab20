/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/private.h"

#include <string.h>

void qmp_subscribe(struct qmp_client *client, struct qmp_subscription *subscription)
{
	struct qmp_subscription **end = &client->subscriptions;

	for (; *end; end = &(*end)->next)
		if (*end == subscription)
			return;
	subscription->next = NULL;
	subscription->since = client->n_events;
	*end = subscription;
}

void qmp_unsubscribe(struct qmp_client *client, struct qmp_subscription *subscription)
{
	struct qmp_subscription **at = &client->subscriptions;

	while (*at && *at != subscription)
		at = &(*at)->next;
	if (!*at)
		return;
	if (client->next_subscription == subscription)
		client->next_subscription = subscription->next;
	*at = subscription->next;
	subscription->next = NULL;
}

void event_deliver(struct qmp_client *c, const struct wire_message *message)
{
	c->n_events++;
	c->next_subscription = c->subscriptions;
	while (c->next_subscription && client_connected(c)) {
		struct qmp_subscription *s = c->next_subscription;

		c->next_subscription = s->next;
		/* One that was made by this very event's callbacks hears the next ones. */
		if (s->since < c->n_events && (!s->name || strcmp(s->name, message->name) == 0))
			s->fn(message->name, message->value, s->user);
	}
	c->next_subscription = NULL;
}
