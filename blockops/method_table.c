/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/method_table.h"

#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <string.h>

static const struct method_table tables[N_METHODS] = {
	[METHOD_FILTER] = {.name = "stream",
		.key = "filter",
		.steps = filter_steps,
		.n_steps = &n_filter_steps,
		.n_looks = 1,
		.has_room = scratch_file_share},
	[METHOD_JOB] = {.name = "stream",
		.key = "job",
		.steps = job_steps,
		.n_steps = &n_job_steps,
		.n_looks = 1,
		.has_room = scratch_file_share},
	[METHOD_BACKUP] = {.name = "backup",
		.key = "backup",
		.steps = backup_steps,
		.n_steps = &n_backup_steps,
		.n_looks = 1,
		.has_room = backup_has_room},
	[METHOD_MIRROR] = {.name = "mirror",
		.key = "mirror",
		.steps = mirror_steps,
		.n_steps = &n_mirror_steps,
		.n_looks = 1,
		.has_room = spool_has_room},
	[METHOD_COLD] = {.name = "cold",
		.key = "cold",
		.steps = cold_steps,
		.n_steps = &n_cold_steps,
		.n_looks = 2,
		.has_room = convert_has_room,
		.holds = true},
	[METHOD_OFFLINE] = {.name = "offline",
		.key = "offline",
		.steps = offline_steps,
		.n_steps = &n_offline_steps,
		.n_looks = 1,
		.has_room = offline_has_room},
};

const struct method_table *method_table(enum method method)
{
	return &tables[method];
}

const struct method_table *method_table_of_recover(void)
{
	static const struct method_table table = {.name = "recover",
		.key = "recover",
		.steps = recover_steps,
		.n_steps = &n_recover_steps};

	return &table;
}

const struct method_table *method_table_by_key(const char *key)
{
	for (size_t i = 0; key && i < N_METHODS; i++) {
		if (tables[i].key && strcmp(tables[i].key, key) == 0)
			return &tables[i];
	}
	return NULL;
}

size_t method_step_index(const struct method_table *table, const char *step)
{
	size_t i = 0;

	while (i < *table->n_steps && strcmp(table->steps[i].name, step) != 0)
		i++;
	return i;
}
