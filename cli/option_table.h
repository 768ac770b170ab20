/* SPDX-License-Identifier: Apache-2.0
 *
 * option_table.h - which options there are, and which commands take them.
 */
#ifndef CLI_OPTION_TABLE_H
#define CLI_OPTION_TABLE_H

#include "cli/options.h"

/* Sets of commands, a bit each. */
enum {
	IN_SNAPSHOT = 1 << COMMAND_SNAPSHOT,
	IN_INSPECT = 1 << COMMAND_INSPECT,
	IN_RECOVER = 1 << COMMAND_RECOVER,
	IN_STATUS = 1 << COMMAND_STATUS,
	IN_CONTROL = IN_STATUS | 1 << COMMAND_SPEED | 1 << COMMAND_CANCEL,
	ON_GUEST = IN_SNAPSHOT | IN_INSPECT | IN_RECOVER,
	IN_DELETE = 1 << COMMAND_DELETE,
	IN_DOWNLOAD = 1 << COMMAND_DOWNLOAD,
	IN_VERIFY = 1 << COMMAND_VERIFY,
	IN_RESTORE = 1 << COMMAND_RESTORE,
	ON_IMAGES = 1 << COMMAND_LIST | 1 << COMMAND_SHOW | IN_DELETE | IN_DOWNLOAD | IN_VERIFY |
		    IN_RESTORE,
	IN_STORES = IN_SNAPSHOT | ON_IMAGES,
	IN_ALL = ON_GUEST | IN_CONTROL | ON_IMAGES,
};

struct option_row {
	const char *name;
	char letter; /* 0: none */
	bool repeatable;
	int takes; /* no_argument, required_argument */
	unsigned commands;
	option_set_fn *set;
};

enum { OPTION_ROWS_MOST = 64 /* `options.seen` has a bit for each */ };

extern const struct option_row option_rows[];
extern const size_t n_option_rows;

#endif
