/* SPDX-License-Identifier: Apache-2.0
 *
 * QMP's bytes to messages: the first byte chooses how the rest is split, the second the limits.
 * However it is split, the same messages come out. */
#include "fuzz.h"
#include "qmp/wire.h"

#include <string.h>

enum { SMALL_LIMIT_BYTES = 256, MOST_MESSAGES = 4096 };

struct outcome {
	unsigned n_messages;
	bool broken;
	enum wire_kind kinds[MOST_MESSAGES];
};

static void look_at(const struct wire_message *m)
{
	char excerpt[40];

	FUZZ_CHECK(m->whole && m->text);
	FUZZ_CHECK(!m->id || m->has_id);
	FUZZ_CHECK(m->kind != WIRE_ERROR || (m->name && m->desc));
	FUZZ_CHECK(m->kind != WIRE_EVENT || m->name);
	wire_excerpt(excerpt, sizeof(excerpt), m->text, m->text_bytes);
	for (const char *c = excerpt; *c; c++)
		FUZZ_CHECK(*c >= ' ' && *c <= '~');
}

/* Takes out what there is; false at the end. */
static bool take_all(struct wire *w, struct outcome *outcome)
{
	struct wire_message message;
	struct qmpsnap_error err;

	for (;;) {
		switch (wire_next(w, &message, &err)) {
		case WIRE_MORE:
			return true;
		case WIRE_BROKEN:
			FUZZ_CHECK(err.message[0]);
			outcome->broken = true;
			return false;
		case WIRE_MESSAGE:
			look_at(&message);
			if (outcome->n_messages < MOST_MESSAGES)
				outcome->kinds[outcome->n_messages++] = message.kind;
			wire_drop(&message);
			break;
		}
	}
}

static void run(struct fuzz_input in, size_t piece, unsigned how, struct outcome *outcome)
{
	struct wire wire;

	memset(outcome, 0, sizeof(*outcome));
	FUZZ_CHECK(wire_init(&wire, how & 1 ? SMALL_LIMIT_BYTES : 0));
	wire.tolerant = how & 2;
	while (in.left) {
		const size_t n = piece && piece < in.left ? piece : in.left;
		FUZZ_CHECK(wire_feed(&wire, in.bytes, n));
		in.bytes += n;
		in.left -= n;
		if (!take_all(&wire, outcome))
			break;
	}
	FUZZ_CHECK(!wire.tolerant || !outcome->broken);
	wire_free(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, split;
	struct fuzz_input in = {data, size};
	const size_t piece = fuzz_byte(&in);
	const unsigned how = fuzz_byte(&in);

	run(in, 0, how, &whole);
	run(in, piece + 1, how, &split);
	/* Of a message of several lines that is too long, more is dropped when it is seen whole. */
	if ((how & 3) == 3)
		return 0;
	FUZZ_CHECK(whole.n_messages == split.n_messages && whole.broken == split.broken);
	FUZZ_CHECK(memcmp(whole.kinds, split.kinds, sizeof(whole.kinds)) == 0);
	return 0;
}
