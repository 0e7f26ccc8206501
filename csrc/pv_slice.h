// SPDX-License-Identifier: Apache-2.0
//
// A borrowed run of bytes. All parsing goes through pv_slice_take, which holds the only bounds check and the
// only pointer arithmetic of the parsers.

#ifndef PV_SLICE_H
#define PV_SLICE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define PV_MUST_USE __attribute__((warn_unused_result))
#else
#define PV_MUST_USE
#endif

// pv_slice is never freed and is valid for as long as the buffer that it was made from.
typedef struct {
  const uint8_t *data;
  size_t len;
} pv_slice;

static inline pv_slice pv_slice_of(const void *data, size_t len) {
  pv_slice s = {(const uint8_t *)data, len};
  return s;
}

// pv_slice_take moves the first |n| bytes of |*in| to |*out_front|. It returns 1, or 0 if there are fewer
// than |n|; then neither slice is touched.
static inline PV_MUST_USE int pv_slice_take(pv_slice *in, size_t n, pv_slice *out_front) {
  if (in->len < n) return 0;
  *out_front = pv_slice_of(in->data, n);
  if (n != 0) *in = pv_slice_of(in->data + n, in->len - n);  // |data| may be NULL when |n| is 0
  return 1;
}

#endif  // PV_SLICE_H
