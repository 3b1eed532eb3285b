from worker.context cimport Context
