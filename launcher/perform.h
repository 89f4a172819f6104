#ifndef TWINHULL_PERFORM_H
#define TWINHULL_PERFORM_H

int perform_main(int argc, char **argv);
int undo_main(int argc, char **argv);

#endif
