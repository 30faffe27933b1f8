// A library that takes FILLER_BYTES of the thread storage that is set aside for libraries loaded
// late.
__attribute__((tls_model("initial-exec"))) __thread char filler_bytes[FILLER_BYTES];
char *filler_address(void);
char *filler_address(void) { return filler_bytes; }
