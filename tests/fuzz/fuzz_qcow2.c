/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers of images that were downloaded. */
#include "blockops/qcow2_header.h"
#include "fuzz.h"

#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int fd = fuzz_file(data, size);
	struct qcow2_header header;
	struct qmpsnap_error err;

	if (qcow2_header_read(fd, &header, &err)) {
		FUZZ_CHECK(qcow2_header_is_there(fd));
		FUZZ_CHECK(memchr(header.backing_file, '\0', sizeof(header.backing_file)));
		FUZZ_CHECK(memchr(header.backing_format, '\0', sizeof(header.backing_format)));
		FUZZ_CHECK(memchr(header.data_file, '\0', sizeof(header.data_file)));
	} else {
		FUZZ_CHECK(err.code == QMPSNAP_REFUSED && err.message[0]);
	}
	(void)close(fd);
	return 0;
}
