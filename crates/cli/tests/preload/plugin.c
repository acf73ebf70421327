/* An object that is loaded later and makes its calls inline. */
#define INLINE
#include "ring.h"

void use(void) {
    use_a_ring();
}
