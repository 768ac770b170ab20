/* SPDX-License-Identifier: Apache-2.0
 *
 * How long things may take. */
#include "base/error.h"
#include "base/units.h"
#include "cli/options.h"

static bool take_time(const char *value, uint64_t most_ms, const char *most, uint64_t *ms,
	struct qmpsnap_error *err)
{
	if (units_parse_duration(value, ms) && *ms > 0 && *ms <= most_ms)
		return true;
	(void)error_set(err, QMPSNAP_USAGE, "'%.64s' is no time up to %s", value, most);
	error_hint(err, "a number with ms, s, m or h behind it: 10s");
	return false;
}

#define HOUR_MS (UINT64_C(3600) * 1000)

bool option_set_freeze_deadline(
	struct options *options, const char *value, struct qmpsnap_error *err)
{
	uint64_t ms = 0;

	if (!take_time(value, HOUR_MS, "an hour", &ms, err))
		return false;
	options->snapshot.freeze_deadline_ms = (unsigned)ms;
	return true;
}

bool option_set_deadline(struct options *options, const char *value, struct qmpsnap_error *err)
{
	return take_time(value, 8760 * HOUR_MS, "a year", &options->snapshot.deadline_ms, err);
}

bool option_set_stall_timeout(struct options *options, const char *value, struct qmpsnap_error *err)
{
	return take_time(value, 8760 * HOUR_MS, "a year", &options->snapshot.stall_timeout_ms, err);
}

bool option_set_wait(struct options *options, const char *value, struct qmpsnap_error *err)
{
	return take_time(value, 8760 * HOUR_MS, "a year", &options->snapshot.wait_ms, err);
}
