/* SPDX-License-Identifier: Apache-2.0
 *
 * report.h - errors and results for people to read.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli/output.h"

#include <qmpsnap.h>

/* "qmpsnap: MESSAGE" and "  hint: HINT". */
void report_error(struct output *out, const struct qmpsnap_error *err);

/* The error (may be NULL), and what could not be undone. */
void report_failure(struct output *out, const struct qmpsnap_error *err,
	const struct qmpsnap_error *undo_error);

/* The images and the facts of a snapshot; nothing for one without images. */
void report_result(struct output *out, const struct qmpsnap_result *result);

#endif
