/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include "base/names.h"
#include "base/units.h"

#include <stdio.h>

void report_error(struct output *out, const struct qmpsnap_error *err)
{
	output_printf(out, "qmpsnap: %s\n", err->message);
	if (*err->hint)
		output_printf(out, "  hint: %s\n", err->hint);
}

void report_failure(
	struct output *out, const struct qmpsnap_error *err, const struct qmpsnap_error *undo_error)
{
	if (err)
		report_error(out, err);
	if (!undo_error)
		return;
	output_printf(out, "qmpsnap: not everything could be undone: %s\n", undo_error->message);
	if (*undo_error->hint)
		output_printf(out, "  hint: %s\n", undo_error->hint);
}

static void report_image(struct output *out, const struct qmpsnap_image *image)
{
	char size[UNITS_TEXT_BYTES], virtual_size[UNITS_TEXT_BYTES];

	units_format_size(size, image->size_bytes);
	units_format_size(virtual_size, image->virtual_size_bytes);
	output_printf(out, "%s: %s\n", image->disk, image->name);
	output_printf(out, "  id        %s\n", image->id);
	output_printf(out, "  location  %s\n", image->location);
	output_printf(out, "  image     %s, %s, of a disk of %s\n", name_format(image->format),
		size, virtual_size);
	if (*image->digest)
		output_printf(out, "  %-8s  %s\n", image->digest_algorithm, image->digest);
}

void report_result(struct output *out, const struct qmpsnap_result *result)
{
	char scratch[UNITS_TEXT_BYTES];

	if (!result->n_images)
		return;
	for (size_t i = 0; i < result->n_images; i++)
		report_image(out, &result->images[i]);
	output_printf(out, "as of %s, consistency: %s\n", result->instant,
		result->consistency ? result->consistency : "unknown");
	if (result->stopped_ms > 0)
		output_printf(out, "the guest stood still for %.1f ms", result->stopped_ms);
	else
		output_printf(out, "the guest was not stopped");
	units_format_size(scratch, result->scratch_bytes);
	output_printf(
		out, "; all took %.1f s, and %s of scratch\n", result->total_ms / 1000, scratch);
	if (result->method)
		output_printf(out, "method %s%s%s\n", result->method, result->reason ? ": " : "",
			result->reason ? result->reason : "");
}
