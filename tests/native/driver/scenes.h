/* One process stopped or killed at every fault point of an operation, in turn, and what the others then find. */
#ifndef NATIVE_SCENES_H
#define NATIVE_SCENES_H

/* Play the scene of that name, "all", or those that are "killed". 0 when nothing wrong was found; 2 when there is no such scene. */
int play_scene(const char *name);

/* Their names, one a line. */
void list_scenes(void);

#endif
