/* What clients ask of the server, one function a frame kind. Internal to the server. */
#ifndef TWINHULL_REQUEST_H
#define TWINHULL_REQUEST_H

#include "server.h"

frame_handler server_request;

/* START: in server.c, as it moves the main process on. */
void server_start(struct server *server);
/* The execs of a client are killed, and nobody's from now on. */
void server_drop_execs(struct server *server, struct connection *connection);
/* A client that sent the main process's stdin has left; it may have been the last. */
void server_stdin_left(struct server *server);

#endif
