/* SPDX-License-Identifier: Apache-2.0
 *
 * usage.h - what --help prints.
 */
#ifndef CLI_USAGE_H
#define CLI_USAGE_H

#include "cli/options.h"

/* COMMAND_NONE: the overview. */
const char *usage_text(enum command command);

#endif
