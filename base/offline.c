/* SPDX-License-Identifier: Apache-2.0 */
#include "base/offline.h"

#include "base/error.h"

#include <string.h>

static bool is_chosen(const char *word)
{
	return word && strcmp(word, "auto") != 0;
}

/* The first option that only a guest can follow, or NULL. */
static const char *needs_guest(const struct qmpsnap_snapshot_options *o)
{
	const struct {
		bool given;
		const char *name;
	} of_guests[] = {
		{o->qmp_address != NULL, "--qmp"},
		{o->n_disks > 0, "--disk"},
		{o->firmware, "--firmware"},
		{o->allow_plaintext, "--allow-plaintext"},
		{is_chosen(o->method), "--method"},
		{is_chosen(o->flavour), "--flavour"},
		{o->qga_address != NULL, "--qga"},
		{o->quiesce == QMPSNAP_QUIESCE_REQUIRE, "--quiesce require"},
		{o->release_monitor, "--release-monitor"},
	};

	for (size_t i = 0; i < sizeof(of_guests) / sizeof(of_guests[0]); i++) {
		if (of_guests[i].given)
			return of_guests[i].name;
	}
	return NULL;
}

bool offline_check_options(
	const struct qmpsnap_snapshot_options *options, struct qmpsnap_error *err)
{
	const char *wrong;

	if (!options->image_path) {
		wrong = options->image_format  ? "--image-format"
			: options->force_share ? "--force-share"
					       : NULL;
		return !wrong || error_set(err, QMPSNAP_USAGE, "%s is for --image alone", wrong);
	}
	if ((wrong = needs_guest(options))) {
		(void)error_set(err, QMPSNAP_USAGE, "--image and %s exclude each other", wrong);
		error_hint(
			err, "--image takes a file that no QEMU uses; --qmp takes a guest's disks");
		return false;
	}
	if (!options->image_format) {
		(void)error_set(err, QMPSNAP_USAGE, "--image-format is missing");
		error_hint(err,
			"a format is never probed, since a guest can forge one: raw, qcow2, "
			"vmdk, vdi, vhdx, ...");
		return false;
	}
	return true;
}
