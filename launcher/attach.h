/* `launcher attach`: the foreground end of run, attach and exec; it behaves as the program it stands for. */
#ifndef TWINHULL_ATTACH_H
#define TWINHULL_ATTACH_H

int attach_main(int argc, char **argv);

#endif
