/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the ACPI tables. */
#ifndef HOSTS_MACHINE_ACPI_H
#define HOSTS_MACHINE_ACPI_H

#include "hosts/machine/acpi_aml.h"
#include "hosts/machine/machine.h"

#define ACPI_S5_TYPE 5u	  /* SLP_TYP that switches the machine off; the DSDT says it, pm.c obeys */
#define RTC_CENTURY 0x32u /* index of the century among the CMOS bytes */

/* The DSDT's body, without the header. */
void acpi_dsdt(struct twx_machine *m, struct aml *a);

#endif
