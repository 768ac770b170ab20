/* SPDX-License-Identifier: Apache-2.0 */
#include "version.h"

#include <qmpsnap.h>

const char *qmpsnap_version(void)
{
	return QMPSNAP_VERSION;
}
