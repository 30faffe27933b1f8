// Leaves what it wrote to the C library, which writes it after the last destructor.
#include <stdio.h>

int main(int argc, char **argv)
{
    FILE *file = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
    if (file == NULL) return 1;
    fputs("never closed\n", file);
    printf("kept\n");
    return 0;
}
