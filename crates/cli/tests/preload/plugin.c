/* An object that is loaded later and makes its calls inline. */
#define INLINE
#include "ring.h"

void use(void) {
    use_a_ring();
}

void use_again(void) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    for (int i = 0; i < 100; i++)
        nop(&r);
    close(r.fd);
}
