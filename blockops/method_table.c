/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/method_table.h"

#include <string.h>

static const struct method_table tables[N_METHODS] = {
	[METHOD_FILTER] = {"stream", "filter", filter_steps, &n_filter_steps},
};

const struct method_table *method_table(enum method method)
{
	return &tables[method];
}

const struct method_table *method_table_by_key(const char *key)
{
	for (size_t i = 0; key && i < N_METHODS; i++) {
		if (strcmp(tables[i].key, key) == 0)
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
