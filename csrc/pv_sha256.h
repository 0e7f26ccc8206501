// SPDX-License-Identifier: Apache-2.0
#ifndef PV_SHA256_H
#define PV_SHA256_H
#include <stddef.h>
#include <stdint.h>
#define PV_SHA256_SIZE 32
void pv_sha256_init(void);
const char *pv_sha256_backend(void);
int pv_sha256_use(const char *backend);
void pv_sha256(const uint8_t *data, size_t len, uint8_t out_digest[PV_SHA256_SIZE]);
#endif
