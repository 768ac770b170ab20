/* SPDX-License-Identifier: Apache-2.0
 *
 * list_steps - prints all step tables, a line a step: table, step, "start" or "-", and "always",
 * "failure" or "-" for its undo.  tests/faults enumerates its cells from it. */
#include "blockops/method_table.h"

#include <stdio.h>

static void print_table(const struct method_table *table)
{
	for (size_t i = 0; i < *table->n_steps; i++) {
		const struct flow_step *step = &table->steps[i];
		const char *undo = step->when == UNDO_ALWAYS ? "always" : "failure";

		(void)printf("%s %s %s %s\n", table->key, step->name, step->start ? "start" : "-",
			step->undo ? undo : "-");
	}
}

int main(void)
{
	for (int method = 0; method < N_METHODS; method++)
		print_table(method_table((enum method)method));
	print_table(method_table_of_recover());
	return 0;
}
