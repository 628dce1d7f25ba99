// This file lets sbrk have no body.
