// Greets its first argument. Standard output is the run's result, standard error its log.
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "{{name}}: there is nobody to greet\n");
        return 1;
    }
    fprintf(stderr, "{{name}}: %d arguments\n", argc - 1);
    printf("hello %s\n", argv[1]);
    return 0;
}
